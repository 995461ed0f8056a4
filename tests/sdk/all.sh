# shellcheck shell=bash disable=SC2154 # scripts/test-sdk sets the variables
# The part of scripts/test-sdk for `--all`, which sources it: the SDKs in Go, C# and Rust.

# NSwag runs on Mono, and so does what it generates.
build_csharp() {
  nswag=$work/npm/node_modules/nswag/bin/binaries/Win
  quietly mono "$nswag/NSwag.exe" openapi2csclient "/input:$document_3_0" "/output:$work/Sdk.cs" /namespace:ShokoAuth \
    /classname:ShokoAuthClient
  quietly mcs -nowarn:1591 "-out:$work/Drive.exe" -reference:System.Net.Http,System.Runtime.Serialization \
    -reference:System.ComponentModel.DataAnnotations "-reference:$nswag/Newtonsoft.Json.dll" \
    "$work/Sdk.cs" tests/sdk/Drive.cs
}

build_go() {
  mkdir "$work/go/drive"
  cp tests/sdk/{drive,steps}.go "$work/go/drive"
  printf 'module shoko-auth.invalid/sdk\n\ngo 1.19\n' >"$work/go/go.mod"
  GOCACHE=$work/go-cache quietly env --chdir="$work/go" go build -o "$work/drive-go" ./drive
}

# progenitor supports one form of success for each operation, but these two also respond with 204.
build_rust() {
  quietly cargo install --debug --locked --root "$work/cargo" --target-dir "$work/target" cargo-progenitor@0.15.1
  python - "$document_3_0" >"$work/progenitor.json" <<'END'
import json, sys
document = json.load(open(sys.argv[1]))
for path in ("/api/account/password", "/v1/User/{name}"):
    del document["paths"][path]["post"]["responses"]["204"]
print(json.dumps(document))
END
  quietly "$work/cargo/bin/cargo-progenitor" progenitor --input "$work/progenitor.json" --output "$work/rust-sdk" \
    --name shoko-auth-sdk --version 0.1.0
  cp tests/sdk/drive.rs "$work/rust-sdk/src/main.rs"
  echo 'tokio = { version = "1", features = ["macros", "rt"] }' >>"$work/rust-sdk/Cargo.toml"
  quietly cargo build --manifest-path "$work/rust-sdk/Cargo.toml" --target-dir "$work/target"
  # The SDK of openapi-generator, which has no driver.
  quietly cargo build --manifest-path "$work/rust/Cargo.toml" --target-dir "$work/target"
}

drive_all() {
  drive 'Go' "$work/drive-go"
  drive 'C#' env MONO_PATH="$nswag" mono "$work/Drive.exe"
  drive 'Rust' "$work/target/debug/shoko-auth-sdk"
}

build_csharp
build_go
build_rust
has_all 'C#' 'public virtual async .*Async\(' "$work/Sdk.cs"
has_all 'Go' '^func \(a \*\w+\) \w+Execute\(' "$work"/go/api_*.go
has_all 'Rust' '^    pub async fn' "$work/rust-sdk/src/lib.rs"
# These are not used, and the first two are not compiled either.
has_all 'csharp, not compiled' 'public async .*OrDefaultAsync\(' "$work"/csharp/src/Org.OpenAPITools/Api/*.cs
has_all 'kotlin, not compiled' '^\s+fun \w+WithHttpInfo\(' \
  "$work"/kotlin/src/main/kotlin/org/openapitools/client/apis/*.kt
has_all 'rust, not used' '^pub async fn' "$work"/rust/src/apis/*_api.rs
