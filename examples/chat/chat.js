/**
 * A chat between browser tabs. The server only relays: it lets a socket join `room:*` and passes `message`, `typing`,
 * `here` and `bye` on to the other members of the sender's room. Who is here, and what was said, only the tabs know.
 *
 * What arrives was written by strangers: it is checked where it comes in, and shown through textContent alone.
 */

import { io } from "./socket.js"; // or "socket.io-client": nothing below would change

const HERE_EVERY = 10_000; // ms
const GONE_AFTER = 25_000;
const REPEATED_WITHIN = 30_000;
const TYPING_EVERY = 2_000;
const TYPING_FADES = 4_000;
const GROUP_WITHIN = 5 * 60_000; // messages closer than this stand under one name
const LINES_KEPT = 500; // per room
const PEOPLE_KEPT = 200;

const $ = (id) => document.getElementById(id);

/** Makes an element: properties by name, `data` for its data attributes, children as nodes or text. */
function make(tag, { data = {}, ...properties } = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  Object.assign(element.dataset, data);
  element.append(...children);
  return element;
}

/** What a peer sent, as a trimmed string of at most `length` characters. */
const text = (value, length) => (typeof value === "string" ? value.trim().slice(0, length) : "");

const randomId = () => Array.from(crypto.getRandomValues(new Uint32Array(3)), (n) => n.toString(36)).join("");

// ---- Me: an id for as long as the page is open, and a name that the tab keeps

const me = { id: randomId(), name: "" };

function suggestName() {
  const pick = (words) => words[Math.floor(Math.random() * words.length)];
  const moods = ["Brave", "Calm", "Clever", "Gentle", "Merry", "Nimble", "Quiet", "Sunny", "Swift", "Witty"];
  const animals = ["Badger", "Finch", "Fox", "Hare", "Heron", "Lynx", "Otter", "Owl", "Seal", "Wren"];
  return `${pick(moods)} ${pick(animals)}`;
}

const store = {
  get(key) {
    try { return sessionStorage.getItem(key) ?? ""; } catch { return ""; } // storage may be forbidden
  },
  set(key, value) {
    try { sessionStorage.setItem(key, value); } catch { /* then the tab forgets */ }
  },
};

function askName() {
  $("name").value = me.name || suggestName();
  $("enter").textContent = me.name ? "Save" : "Come in";
  $("welcome").returnValue = "";
  $("welcome").showModal();
  $("name").select();
}

function rename(name) {
  const isFirst = !me.name;
  if (!name || name === me.name) return;
  me.name = name;
  store.set("name", name);
  showMe();
  showPeople();
  showTitle();
  if (isFirst && socket.connected) join();
  else announce();
}

// ---- The connection

const socket = io();
let connectedSince = 0;
let attempt = 0; // of getting the connection back
let problem = ""; // why there is none

socket.on("connect", () => {
  connectedSince = Date.now();
  attempt = 0;
  problem = "";
  socket.io.engine.on("upgrade", showState); // from polling to WebSocket, where the client has both
  showState();
  if (me.name) join(); // a new connection is a new socket, which is in no room yet
});

socket.on("disconnect", (reason) => {
  inRoom = false;
  for (const person of people.values()) person.typing = 0;
  problem = reason;
  showTyping();
  showState();
  showPeople();
});

socket.on("connect_error", (error) => {
  problem = error.message;
  showState();
});

socket.io.on("reconnect_attempt", (number) => {
  attempt = number;
  showState();
});

/** Says how the connection is doing, in the header and, when it is not doing well, above the messages. */
function showState() {
  const trying = connectedSince ? "reconnecting" : "connecting";
  const state = socket.connected ? "connected" : socket.active ? trying : "disconnected";
  const more = { connected: ` · ${socket.io.engine?.transport.name}`, disconnected: "" }[state] ?? "…";
  if ($("state").textContent !== state + more) { // it is read out when it changes
    $("state").replaceChildren(state, make("span", { className: "more" }, more));
  }
  $("state").dataset.state = state;
  $("socket-id").textContent = socket.id ?? "–";
  $("banner").hidden = !problem;
  $("trouble").textContent = socket.active
    ? `No connection (${problem}). What you write is kept and sent as soon as it is back.${attempt > 1 ? ` Attempt ${attempt}.` : ""}`
    : `The connection is closed (${problem}).`;
  showUptime();
}

function showUptime() {
  const seconds = Math.floor((Date.now() - connectedSince) / 1000);
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const pad = (n) => String(n).padStart(2, "0");
  $("uptime").textContent = socket.connected ? (h ? `${h}:${pad(m)}:${pad(s)}` : `${m}:${pad(s)}`) : "–";
}

// ---- Rooms: the one in the address's hash is the one we are in

const rooms = new Set(["lobby", "kitchen", "ideas", ...store.get("rooms").split(" ").filter(Boolean)]);
const logs = new Map(); // room → its messages' element
let room = "";
let inRoom = false; // whether the server has let this socket in

/** A room's name as it may stand in an address: letters, digits and single dashes. */
function roomName(words) {
  return words.toLowerCase().replace(/[^\p{L}\p{N}\p{M}]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 32);
}

function roomOfAddress() {
  try { return roomName(decodeURIComponent(location.hash.slice(1))) || "lobby"; } catch { return "lobby"; }
}

function enterRoom() {
  const next = roomOfAddress();
  if (next === room) return;
  leave();
  room = next;
  rooms.add(room);
  if (!logs.has(room)) logs.set(room, make("div", { className: "lines" }));
  people.clear();
  $("log").setAttribute("aria-live", "off"); // what was said before is no news
  $("log").replaceChildren(logs.get(room));
  setTimeout(() => $("log").setAttribute("aria-live", "polite"), 500);
  showRoom();
  scrollToEnd();
  if (me.name && socket.connected) join();
}

/** Asks to be let in; then says so to the others, and sends what has been waiting. */
function join() {
  const asked = room;
  socket.emit("join", `room:${asked}`, (answer) => {
    if (asked !== room) return;
    if (answer?.error) {
      rooms.delete(asked);
      return addSystemLine(`The server does not let you into #${asked}: ${text(answer.error.message, 200)}`);
    }
    inRoom = true;
    showPeople();
    store.set("rooms", [...rooms].join(" "));
    for (const person of people.values()) person.seen = Date.now(); // who is still here will say so now
    announce({ ask: true });
    sendWaiting();
  });
}

function leave() {
  if (!room || !socket.connected) return;
  if (inRoom) socket.emit("bye", { id: me.id, name: me.name, room });
  socket.emit("leave", `room:${room}`);
  inRoom = false;
}

// ---- Who is here: everybody says so from time to time, and whoever has not been heard of for long is gone

const people = new Map(); // id → {name, seen, typing}; without me
let announced = 0;

function announce({ ask = false } = {}) {
  if (!inRoom) return;
  announced = Date.now();
  socket.emit("here", { id: me.id, name: me.name, room, ask });
}

/** The sender of what has arrived, if it is meant for this room and makes sense; else nothing. */
function sender(data) {
  const [id, name] = [text(data?.id, 40), text(data?.name, 32)];
  return id && name && id !== me.id && data.room === room ? { id, name } : undefined;
}

/** Notes that somebody is here; answers with what is known about them. */
function seen({ id, name }, isArriving = false) {
  let person = people.get(id);
  if (!person) {
    if (people.size >= PEOPLE_KEPT) return { name, seen: 0, typing: 0 };
    people.set(id, (person = { name, seen: 0, typing: 0 }));
    if (isArriving) addSystemLine(`${name} joined`);
  } else if (person.name !== name) {
    addSystemLine(`${person.name} is now ${name}`);
    person.name = name;
  }
  person.seen = Date.now();
  showPeople();
  return person;
}

function gone(id) {
  const person = people.get(id);
  if (!person) return;
  people.delete(id);
  addSystemLine(`${person.name} left`);
  showPeople();
  showTyping();
}

socket.on("here", (data) => {
  const from = sender(data);
  if (!from) return;
  if (data.ask === true && people.has(from.id)) repeatLatest(); // they are back, and may have missed something
  seen(from, data.ask === true);
  // Browsers slow down the timers of hidden tabs, but not what arrives: so others' words serve as a clock, too.
  if (data.ask === true || Date.now() - announced > HERE_EVERY - 1000) announce();
});

socket.on("bye", (data) => {
  const from = sender(data);
  if (from) gone(from.id);
});

function watchPeople() {
  if (document.hidden || !inRoom) return; // here, a slow timer or a lost connection is ours, not theirs
  for (const [id, person] of people) if (Date.now() - person.seen > GONE_AFTER) gone(id);
}

// ---- Messages. The server keeps none, so their senders do for a while: until it has taken them, and a little longer for
// those who were cut off together with us, say by a restart of the server, and come back after us.

const said = new Map(); // id → {id, room, text, sent}, where sent is when the server had it, or 0
const received = new Set(); // ids, since a message that is repeated may arrive twice

function say(words) {
  const message = { id: randomId(), room, text: words, sent: 0 };
  said.set(message.id, message);
  addMessage({ ...message, isOwn: true, from: me });
  scrollToEnd();
  if (inRoom) send(message);
}

function send(message) {
  const { id, room, text: words } = message;
  socket.emit("message", { id: me.id, name: me.name, room, message: id, text: words }, (answer) => {
    message.sent ||= Date.now();
    if (answer?.error) said.delete(id);
    mark(id, answer?.error ? "refused" : "sent");
  });
}

function sendWaiting() {
  for (const message of said.values()) if (message.room === room && !message.sent) send(message);
}

function repeatLatest() {
  for (const message of said.values()) {
    if (message.sent && Date.now() - message.sent > REPEATED_WITHIN) said.delete(message.id);
    else if (message.room === room && message.sent) send(message);
  }
}

socket.on("message", (data) => {
  const from = sender(data);
  const [id, words] = [text(data?.message, 40), text(data?.text, 2000)];
  if (!from || !id || !words || received.has(from.id + id)) return;
  received.add(from.id + id);
  if (received.size > LINES_KEPT) received.delete(received.values().next().value);
  seen(from).typing = 0;
  showTyping();
  addMessage({ id, room, text: words, from });
});

// ---- Typing

let typed = 0; // when we last said that we are typing

function tellTyping(isTyping) {
  if (!inRoom || (isTyping ? Date.now() - typed < TYPING_EVERY : !typed)) return;
  typed = isTyping ? Date.now() : 0;
  socket.emit("typing", { id: me.id, name: me.name, room, on: isTyping });
}

socket.on("typing", (data) => {
  const from = sender(data);
  if (!from) return;
  seen(from).typing = data.on === true ? Date.now() : 0;
  showTyping();
});

function showTyping() {
  const names = [...people.values()].filter((person) => Date.now() - person.typing < TYPING_FADES).map((person) => person.name);
  const line = names.length > 2 ? "Several people are typing" : names.length ? `${names.join(" and ")} ${names.length > 1 ? "are" : "is"} typing` : "";
  if ($("typing").textContent !== line) $("typing").textContent = line;
}

// ---- The page

const colour = (id) => String([...id].reduce((sum, c) => (sum * 31 + c.codePointAt(0)) % 360, 7));

function dress(avatar, { id, name }) {
  const initials = name.split(/\s+/).slice(0, 2).map((word) => [...word][0]).join("");
  avatar.textContent = initials.toUpperCase();
  avatar.style.setProperty("--hue", colour(id));
  return avatar;
}

const makeAvatar = (person) => dress(make("span", { className: "avatar", ariaHidden: "true" }), person);

function showMe() {
  $("me").hidden = false;
  dress(document.querySelector("#me .avatar"), me);
  document.querySelector("#me strong").textContent = me.name;
}

function showRoom() {
  $("room").textContent = room;
  $("message").placeholder = `Message #${room}`;
  $("another").href = `#${encodeURIComponent(room)}`;
  $("rooms").replaceChildren(...[...rooms].map((name) => {
    const link = make("a", { href: `#${encodeURIComponent(name)}`, data: { room: name } }, make("span", { ariaHidden: "true" }, "#"), make("bdi", {}, name));
    if (name === room) link.ariaCurrent = "page";
    return make("li", {}, link);
  }));
  $("empty").hidden = Boolean(logs.get(room).querySelector(".message"));
  showPeople();
  showTyping();
  showTitle();
}

function showPeople() {
  const others = [...people].map(([id, { name }]) => ({ id, name })).sort((a, b) => a.name.localeCompare(b.name));
  const everybody = me.name ? [{ ...me, isMe: true }, ...others] : others;
  const line = (person) => make("li", { data: { person: person.id } }, makeAvatar(person), make("bdi", {}, person.name), ...(person.isMe ? [make("span", { className: "you" }, "you")] : []));
  $("people").replaceChildren(...everybody.map(line));
  // Without a connection nobody knows who is still here.
  $("people").dataset.known = inRoom;
  $("count").textContent = inRoom ? everybody.length : "";
  $("summary").textContent = summary(everybody.length);
}

function summary(count) {
  if (!me.name) return "You are not in yet";
  if (!socket.connected) return connectedSince ? "You are cut off" : "Not connected yet";
  if (!inRoom) return "You are not in this room yet";
  return count > 1 ? `${count} people here` : "Only you are here";
}

let isAtEnd = true; // whether the end of the messages is in view; if so, it is kept there

function addLine(line) {
  const lines = logs.get(room);
  lines.append(line);
  while (lines.childElementCount > LINES_KEPT) lines.firstElementChild.remove();
  if (isAtEnd) scrollToEnd();
}

function addSystemLine(words) {
  addLine(make("p", { className: "system", dir: "auto", data: { system: "" } }, words));
}

function addMessage({ id, text: words, from, isOwn = false }) {
  const now = new Date();
  const last = logs.get(room).lastElementChild;
  const isFollowing = last?.dataset.from === from.id && last.dataset.name === from.name && now - last.dataset.at < GROUP_WITHIN;
  const time = make("time", { dateTime: now.toISOString(), title: now.toLocaleString() }, now.toLocaleTimeString([], { hour: "numeric", minute: "2-digit" }));
  const line = make("article", { className: "message", data: { message: id, from: from.id, name: from.name, at: now.getTime() } });
  if (isOwn) line.dataset.own = "";
  if (isFollowing) line.dataset.following = "";
  const author = make("p", { className: isFollowing || isOwn ? "unseen" : "author" }, make("bdi", {}, isOwn ? "You" : from.name));
  const meta = make("span", { className: "meta" }, time, ...(isOwn ? [make("span", { className: "mark" })] : []));
  const bubble = make("div", { className: "bubble" }, make("span", { className: "text", dir: "auto" }, words), meta);
  line.append(...(isOwn || isFollowing ? [] : [makeAvatar(from)]), author, bubble);
  addLine(line);
  if (isOwn) mark(id, "sending");
  $("empty").hidden = true;
  if (isOwn) return;
  $("latest").hidden = isAtEnd;
  if (document.hidden) missed++;
  showTitle();
}

/** Shows what has become of a message of our own: sending, sent or refused. */
function mark(id, status) {
  for (const lines of logs.values()) {
    const line = lines.querySelector(`[data-message="${CSS.escape(id)}"][data-own]`);
    if (!line) continue;
    line.dataset.status = status;
    line.querySelector(".mark").textContent = status;
  }
}

let missed = 0; // messages that came while nobody looked

function showTitle() {
  document.title = [`${missed ? `(${missed}) ` : ""}#${room}`, me.name, "Chat"].filter(Boolean).join(" · ");
}

function scrollToEnd() {
  $("log").scrollTop = $("log").scrollHeight;
  isAtEnd = true;
  $("latest").hidden = true;
}

const narrow = matchMedia("(max-width: 760px)"); // as in chat.css

/** On a narrow screen the rooms and the people are a drawer; while it is open, the rest waits. */
function openDrawer(isOpen) {
  if (isOpen === document.body.classList.contains("drawer-open")) return;
  document.body.classList.toggle("drawer-open", isOpen);
  $("menu").setAttribute("aria-expanded", isOpen);
  $("main").inert = isOpen;
  $(isOpen ? "close" : "menu").focus();
}

function fitMessage() {
  $("message").style.height = "auto";
  $("message").style.height = `${$("message").scrollHeight}px`;
  $("send").disabled = !$("message").value.trim();
}

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const words = text($("message").value, 2000);
  if (!words || !me.name) return;
  say(words);
  typed = 0; // the message says as much
  $("message").value = "";
  fitMessage();
  $("message").focus();
});

$("message").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("composer").requestSubmit();
});

$("message").addEventListener("input", () => {
  fitMessage();
  tellTyping($("message").value.trim() !== "");
});

$("message").addEventListener("blur", () => tellTyping(false));

$("new-room-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = roomName($("new-room").value);
  $("new-room").value = "";
  if (!name) return;
  location.hash = encodeURIComponent(name);
  openDrawer(false);
});

$("rooms").addEventListener("click", (event) => event.target.closest("a") && openDrawer(false));
$("welcome").addEventListener("close", () => {
  const given = $("welcome").returnValue === "given" ? text($("name").value, 32) : "";
  rename(given || me.name || suggestName()); // Escape keeps the name, and gives one to whoever has none
  openDrawer(false);
  $("message").focus();
});
$("me").addEventListener("click", askName);
$("retry").addEventListener("click", () => socket.disconnect().connect());
$("latest").addEventListener("click", scrollToEnd);
$("menu").addEventListener("click", () => openDrawer(true));
$("close").addEventListener("click", () => openDrawer(false));
$("shade").addEventListener("click", () => openDrawer(false));
$("log").addEventListener("scroll", () => {
  isAtEnd = $("log").scrollHeight - $("log").scrollTop - $("log").clientHeight < 80;
  if (isAtEnd) $("latest").hidden = true;
});
new ResizeObserver(() => isAtEnd && scrollToEnd()).observe($("log")); // such as when a phone's keyboard comes up
$("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the hash is for rooms
  $("message").focus();
});

addEventListener("keydown", (event) => event.key === "Escape" && !$("welcome").open && openDrawer(false));
narrow.addEventListener("change", () => openDrawer(false));
addEventListener("hashchange", () => {
  enterRoom();
  if (!narrow.matches) $("message").focus(); // on a phone this would bring up the keyboard
});

// The browser closes the connection of a page that is left. If it shows the same page again, we are back.
addEventListener("pagehide", leave);
addEventListener("pageshow", (event) => event.persisted && socket.connected && join());

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  missed = 0;
  showTitle();
  for (const person of people.values()) person.seen = Date.now();
  announce({ ask: true });
});

setInterval(announce, HERE_EVERY);
setInterval(() => {
  watchPeople();
  showTyping();
  showUptime();
}, 1000);

me.name = text(store.get("name"), 32);
enterRoom();
showState();
if (me.name) showMe();
else askName();
