// What examples/LogIn.cs uses of System.Text.Json, which Mono does not have, with the names and results of .NET.
namespace System.Text.Json {
    using System.IO;
    using System.Linq;
    using System.Runtime.Serialization.Json;
    using System.Xml.Linq;

    public static class JsonSerializer {
        // Writes a text, `null`, or an object whose members are texts.
        public static string Serialize(object value) {
            if (value is string text) return Quote(text);
            if (value == null) return "null";
            var members = value.GetType().GetProperties();
            var written = members.Select(member => Quote(member.Name) + ":" + Quote((string)member.GetValue(value)));
            return "{" + string.Join(",", written) + "}";
        }

        static string Quote(string text) {
            var stream = new MemoryStream();
            new DataContractJsonSerializer(typeof(string)).WriteObject(stream, text);
            return Encoding.UTF8.GetString(stream.ToArray());
        }
    }

    public sealed class JsonDocument {
        public JsonElement RootElement { get; private set; }

        public static JsonDocument Parse(string text) {
            var quotas = Xml.XmlDictionaryReaderQuotas.Max;
            var reader = JsonReaderWriterFactory.CreateJsonReader(Encoding.UTF8.GetBytes(text), quotas);
            return new JsonDocument { RootElement = new JsonElement(XElement.Load(reader)) };
        }
    }

    public struct JsonElement {
        readonly XElement element;
        public JsonElement(XElement element) { this.element = element; }

        public string GetString() { return element.Value; }

        public JsonElement GetProperty(string name) {
            var found = element.Element(name);
            if (found == null) throw new System.Collections.Generic.KeyNotFoundException(name);
            return new JsonElement(found);
        }

        public bool TryGetProperty(string name, out JsonElement value) {
            var found = element.Element(name);
            value = new JsonElement(found);
            return found != null;
        }
    }
}
