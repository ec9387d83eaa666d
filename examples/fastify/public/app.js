// The page: socket.io-client as ever. Its origin is Caddy's, and its cookie the API's.

import { io } from "/socket.io/socket.io.esm.min.js";

const $ = (id) => document.getElementById(id);
const socket = io({ autoConnect: false });

function log(text, kind = "") {
  const line = document.createElement("li");
  line.textContent = text;
  line.className = kind;
  $("log").append(line);
}

socket.on("connect", () => ($("state").textContent = `connected as ${$("email").value}`));
socket.on("disconnect", (reason) => ($("state").textContent = `disconnected: ${reason}`));
socket.on("connect_error", (error) => ($("state").textContent = error.message));
socket.on("message:new", ({ text, from }) => log(`${from}: ${text}`));
socket.on("announcement", ({ text }) => log(text, "announcement"));

const post = (path, body) =>
  fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

$("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const response = await post("/login", { email: $("email").value });
  if (!response.ok) return;
  $("login").hidden = true;
  document.querySelector("main").hidden = false;
  socket.connect();
});

function take() {
  const text = $("text").value;
  $("text").value = "";
  return text;
}

$("message").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = take();
  const answer = await socket.timeout(10_000).emitWithAck("message:send", { text });
  if (answer.error) log(answer.error.message, "problem");
  else log(`you: ${text}`);
});

$("announce").addEventListener("click", async () => {
  const response = await post("/announcements", { text: take() });
  if (!response.ok) log((await response.json()).error.message, "problem");
});
