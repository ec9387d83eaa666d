// What the page and the API say to each other: import it in both. The page has its socket as
// Socket<ServerToClientEvents, ClientToServerEvents> of socket.io-client.

export interface SocketData {
  userId: string;
  organizationId: string;
  role: "admin" | "member";
  email: string;
}

export interface Message {
  id: number;
  text: string;
  from: string;
}

export interface Announcement {
  text: string;
}

export interface Problem {
  error: { code: string; message: string };
}

export interface ServerToClientEvents {
  "message:new": (message: Message) => void;
  announcement: (announcement: Announcement) => void;
}

export interface ClientToServerEvents {
  "message:send": (message: { text: string }, ack: (answer: { ok: true; id: number } | Problem) => void) => void;
}

export const roomOf = (user: SocketData) => `org:${user.organizationId}`;
