// The page. Its origin is Caddy's, and its cookie the API's, so that the client needs no options.

import { io } from "/client.js"; // socket.io-client, or what has its names: see the Caddyfile

const $ = (id) => document.getElementById(id);
let socket;

const request = (path, method = "GET", body = undefined) =>
  fetch(path, { method, ...(body && { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }) });
const post = (path, body) => request(path, "POST", body);

function log(text, kind = "") {
  const line = document.createElement("li");
  line.textContent = text;
  line.className = kind;
  $("log").append(line);
  line.scrollIntoView({ block: "nearest" });
}

const say = (state) => ($("state").textContent = state);

/** Shows the page of a user, or the log-in if there is none. */
function show(user) {
  $("login").hidden = Boolean(user);
  $("logout").hidden = document.querySelector("main").hidden = !user;
  $("announce").hidden = user?.role !== "admin"; // the API checks it, too
  if (!user) say("not logged in");
}

/** Connects whoever is logged in. */
async function start() {
  const response = await request("/me");
  const user = response.ok ? await response.json() : undefined;
  show(user);
  if (!user) return;
  say("connecting…");
  socket = io();
  socket.on("connect", () => say(`connected as ${user.email}`));
  socket.on("disconnect", (reason) => say(`disconnected: ${reason}`));
  socket.on("connect_error", (error) => say(error.message));
  socket.on("message:new", ({ text, from }) => log(`${from}: ${text}`));
  socket.on("announcement", ({ text }) => log(text, "announcement"));
}

$("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const response = await post("/login", { email: $("email").value });
  if (response.ok) await start();
  else say("the log-in has failed");
});

$("logout").addEventListener("click", async () => {
  await post("/logout");
  socket.disconnect();
  $("log").replaceChildren();
  show();
});

function take() {
  const text = $("text").value;
  $("text").value = "";
  return text;
}

$("message").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = take();
  socket.emit("message:send", { text }, (answer) => {
    if (answer.error) log(answer.error.message, "problem");
    else log(`you: ${text}`);
  });
});

$("announce").addEventListener("click", async () => {
  const response = await post("/announcements", { text: take() });
  if (!response.ok) log((await response.json()).error.message, "problem");
});

await start();
