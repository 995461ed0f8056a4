// Starts Swagger UI. The server serves this file in place of the one with this name that comes with Swagger UI, and
// inserts the list of its documents below.

// The operations that log in, with the member of the response that contains the key.
const logins = { "post /api/auth": "apikey", "post /api/v3/Auth/SignIn": "Token" };

// Without this parameter in its address, the page keeps the key only until it is closed or reloaded.
const persistAuthorization = new URLSearchParams(location.search).get("persistAuthorization") === "true";

// Presents the key of a successful login in all further requests, as the button "Authorize" would.
const useKeyOfLogin = system => ({
  statePlugins: {
    spec: {
      wrapActions: {
        setResponse: setResponse => (path, method, response) => {
          const key = response.ok && response.obj?.[logins[`${method} ${path}`]];
          if (key) {
            const { authActions, specSelectors } = system.getSystem();
            const schema = specSelectors.specJson().getIn(["components", "securitySchemes", "ApiKey"]).toJS();
            authActions.authorizeWithPersistOption({ ApiKey: { name: "ApiKey", schema, value: key } });
          }
          return setResponse(path, method, response);
        },
      },
    },
  },
});

if (!persistAuthorization) {
  localStorage.removeItem("authorized");
}
window.ui = SwaggerUIBundle({
  // Swagger UI leaves out relative links of a document whose own URL is relative.
  urls: DOCUMENTS.map(({ name, url }) => ({ name, url: new URL(url, location.href).href })),
  dom_id: "#swagger-ui",
  deepLinking: true,
  tryItOutEnabled: true,
  persistAuthorization,
  // Swagger UI would otherwise send the address of the document to a website that validates documents.
  validatorUrl: "none",
  layout: "StandaloneLayout",
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIStandalonePreset],
  plugins: [SwaggerUIBundle.plugins.DownloadUrl, useKeyOfLogin],
});
