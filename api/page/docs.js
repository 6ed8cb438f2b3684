// The API's description, with requests that can be sent. The key is the page's own, kept until the tab is closed.
const field = document.getElementById("key");
field.value = sessionStorage.getItem("sightline-key") ?? "";
field.addEventListener("change", () => (sessionStorage.setItem("sightline-key", field.value), location.reload()));

function withKey(request) {
  if (field.value && !request.headers.Authorization) request.headers.Authorization = `Bearer ${field.value.trim()}`;
  return request;
}

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: -1,
  displayRequestDuration: true,
  filter: true,
  tryItOutEnabled: true,
  requestInterceptor: withKey,
  validatorUrl: null, // It would send the description elsewhere.
});
