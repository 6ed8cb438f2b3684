// The API's description, with requests that can be sent. The key is the page's own, kept until the tab is closed.
const field = document.getElementById("key");
const form = document.getElementById("key-form");
field.value = sessionStorage.getItem("sightline-key") ?? "";
form.addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("sightline-key", field.value.trim());
  show();
});

function with_key(request) {
  if (field.value && !request.headers.Authorization) request.headers.Authorization = `Bearer ${field.value.trim()}`;
  return request;
}

async function show() {
  const { status } = await fetch("/openapi.json", with_key({ headers: {} }));
  form.hidden = status !== 401;
  document.getElementById("key-note").hidden = !field.value;
  if (!form.hidden) return field.focus();
  SwaggerUIBundle({
    url: "/openapi.json",
    dom_id: "#docs",
    deepLinking: true,
    docExpansion: "list",
    defaultModelsExpandDepth: -1,
    displayRequestDuration: true,
    filter: true,
    tryItOutEnabled: true,
    requestInterceptor: with_key,
    validatorUrl: null, // It would send the description elsewhere.
  });
}

show();
