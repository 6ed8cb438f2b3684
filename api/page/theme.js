// Before anything is drawn: the colours that were chosen on this device, else the system's.
try {
  document.documentElement.dataset.theme = localStorage.getItem("sightline-theme") ?? "system";
} catch {
  document.documentElement.dataset.theme = "system"; // Storage is blocked.
}
