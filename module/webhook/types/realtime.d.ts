// Types for applications behind caddy-realtime: the backend protocol, and the event maps that socket.io-client takes. The same
// messages are described by JSON Schemas in ../schema; fields that are not here are to be ignored.

/**
 * What the backend knows of a socket. Say your own by declaration merging, or as a type argument of the messages:
 *
 *     interface Me extends SocketData { userId: string; role: "admin" | "guest" }
 *     const answer: ConnectAnswer<Me> = { data: { userId: "u1", role: "admin" } };
 */
export interface SocketData {
  [member: string]: any;
}

/** The events that clients get, as in `Socket<ServerToClientEvents, ClientToServerEvents>` of socket.io-client. */
export interface ServerToClientEvents {
  [event: string]: (...args: any[]) => void;
}

/** The events that clients send. One whose last parameter is a function awaits an ack. */
export interface ClientToServerEvents {
  [event: string]: (...args: any[]) => void;
}

/** Any map of events, as socket.io-client has it. */
export interface EventsMap {
  [event: string]: any;
}

/** Binary data in plain JSON, at any depth of an argument: standard base64. */
export interface Binary {
  $binary: string;
}

type IsAny<T> = 0 extends 1 & T ? true : false;

/** A value as plain JSON has it. */
export type Plain<T> = IsAny<T> extends true
  ? any
  : T extends ArrayBuffer | ArrayBufferView
    ? Binary
    : T extends (...args: any[]) => any
      ? never
      : { [K in keyof T]: Plain<T[K]> };

/** The arguments of an event, without what takes its ack. */
export type Args<F> = Plain<
  F extends (...args: infer A) => any ? (A extends [...infer Rest, infer Last] ? (Last extends (...args: any[]) => any ? Rest : A) : A) : never
>;

/** What acks an event. */
export type Ack<F> = F extends (...args: infer A) => any
  ? A extends [...any[], infer Last]
    ? Last extends (...args: infer Answer) => any
      ? Plain<Answer>
      : []
    : any[]
  : never;

/** What a room or a user is called. A number counts as its digits. */
export type Name = string | number;

/** A request: what all of them have. */
export interface Request {
  v: 1;
  /** RFC 3339. */
  timestamp: string;
  /** 1 for the first one. */
  attempt: number;
}

/** Asks whether a client may connect. */
export interface ConnectRequest extends Request {
  type: "socket.connect";
  data: {
    socket: {
      /** Which the socket will have, if it is let in. */
      id: string;
      /** The connection, which several sockets of one client share. */
      session: string;
      node: string;
      namespace: string;
      protocol: "socket.io" | "websocket";
      transport: "polling" | "websocket";
      /** Of the page; null for a client that is no browser. */
      origin: string | null;
      remote_ip: string;
      /** The connection is encrypted. */
      secure: boolean;
      /** As far as an earlier authenticator knows. */
      user: string | null;
    };
    /** What authenticators before this one have said of the socket. */
    state?: SocketData;
    /** The handshake. */
    request: {
      path: string;
      query: { [name: string]: string | string[] };
      /** Those that are kept, with names in lower case. */
      headers: { [name: string]: string };
    };
    /** What the client authenticates itself with. */
    auth: { [member: string]: any } | null;
  };
}

/** Lets a client in: the body of a 200. */
export interface ConnectAnswer<Data = SocketData, Events extends EventsMap = ServerToClientEvents> {
  data?: Data;
  /** The user's id. */
  user?: Name | null;
  /** Rooms. */
  join?: Name[];
  emit?: Emission<Events>[];
  /**
   * When the client's connection is closed, so that it comes back and asks anew: RFC 3339, or seconds since 1970; above
   * 100000000000 these are milliseconds. A text without a zone is in UTC.
   */
  expires_at?: string | number | null;
  disconnect?: Disconnect;
}

/** Keeps a client out: the body of a 401 or 403. The client gets a connect_error with it. */
export interface ConnectRefusal {
  error?: {
    message?: string;
    data?: any;
  };
}

/** Says what a client has sent. Those of one socket come one after the other, in order. */
export interface EventRequest<Events extends EventsMap = ClientToServerEvents, Data = SocketData> extends Request {
  type: "socket.event";
  data: {
    [E in keyof Events & string]: {
      socket: {
        id: string;
        session: string;
        node: string;
        namespace: string;
        user: string | null;
        /** Numbers the socket's events, from 1. */
        seq: number;
        /** But for its own. */
        rooms: string[];
      };
      state: Data;
      event: E;
      args: Args<Events[E]>;
      wants_ack: boolean;
    };
  }[keyof Events & string];
}

/** Says what follows from an event: the body of a 200. */
export interface EventAnswer<Data = SocketData, Events extends EventsMap = ServerToClientEvents, Answer extends any[] = any[]> {
  ack?: Answer;
  /** Rooms. */
  join?: Name[];
  /** Rooms. */
  leave?: Name[];
  /** Members that take the place of those of the same name. */
  data?: Partial<Data>;
  emit?: Emission<Events>[];
  disconnect?: Disconnect;
}

/** Says that an event was wrong: the body of a status of 400 to 499. An awaited ack gets it. */
export interface EventRefusal {
  error?: {
    /** For programs. */
    code?: string;
    /** For people. */
    message?: string;
  };
}

/** Says that a socket is gone. It comes at least once: those of one webhook-id are about the same end of it. */
export interface DisconnectRequest<Data = SocketData> extends Request {
  type: "socket.disconnect";
  data: {
    socket: {
      id: string;
      session: string;
      node: string;
      namespace: string;
      user: string | null;
      /** RFC 3339. */
      connected_at: string;
    };
    state: Data;
    /** In Socket.IO's words. */
    reason: string;
    /** node_lost: the server was killed, and another one tells, or its next start. */
    initiator: "client" | "server" | "network" | "limit" | "drain" | "admin" | "node_lost";
    duration_ms: number;
    /** Of the user, on all nodes. */
    user_connections_left: number;
  };
}

/**
 * Says that a socket is there, after a socket.disconnect with the initiator node_lost has said that it is gone: its server
 * was cut off from the others, and not lost.
 */
export interface RecoveredRequest<Data = SocketData> extends Request {
  type: "socket.recovered";
  data: {
    socket: DisconnectRequest["data"]["socket"];
    state: Data;
    /** Of the user, this one included. */
    user_connections: number;
  };
}

/** A message of a batch: what a request of its own has, but `v` and `timestamp`; `id` is what its webhook-id is. */
export type BatchMessage<Events extends EventsMap = ClientToServerEvents, Data = SocketData> = { id: string } & (
  | Omit<EventRequest<Events, Data>, "v" | "timestamp">
  | Omit<DisconnectRequest<Data>, "v" | "timestamp">
  | Omit<RecoveredRequest<Data>, "v" | "timestamp">
);

/** Several messages, as they come while another request is on its way. Only a backend for which batches are turned on gets them. */
export interface BatchRequest<Events extends EventsMap = ClientToServerEvents, Data = SocketData> {
  v: 1;
  type: "batch";
  /** RFC 3339. */
  timestamp: string;
  messages: BatchMessage<Events, Data>[];
}

/** What becomes of a message of a batch: what an answer of its own would be. A line of application/x-ndjson, in any order. */
export interface BatchResult<Body = EventAnswer | EventRefusal> {
  /** Of the message. */
  id: string;
  /** Default: 200. */
  status?: number;
  body?: Body | null;
}

/** What becomes of the messages of a batch, as JSON instead of lines. */
export interface BatchAnswer<Body = EventAnswer | EventRefusal> {
  results: BatchResult<Body>[];
}

/** Any request that a backend gets, unless batches are turned on: then {@link BatchRequest}, too. */
export type BackendRequest<Events extends EventsMap = ClientToServerEvents, Data = SocketData> =
  | ConnectRequest
  | EventRequest<Events, Data>
  | DisconnectRequest<Data>
  | RecoveredRequest<Data>;

/** Whom an event is for: rooms and users, or everyone. */
export type Recipients =
  | {
      /** Rooms. The id of a socket is the name of its own one. */
      to?: Name[];
      /** Whose sockets get it, too. */
      users?: Name[];
      everyone?: false;
    }
  | {
      /** All sockets of the namespace get it. */
      everyone?: true;
      to?: never;
      users?: never;
    };

/**
 * An event to send. Without `to`, `users` and `everyone` it goes to the socket that the request was about; lists that are
 * written and empty are nobody.
 */
export type Emission<Events extends EventsMap = ServerToClientEvents> = {
  [E in keyof Events & string]: Recipients & {
    /** Rooms whose members do not get it. */
    except?: Name[];
    /** Default: that of the socket. */
    namespace?: string;
    event: E;
    args?: Args<Events[E]>;
    /** Clients that cannot take it at once miss it. */
    volatile?: boolean;
  };
}[keyof Events & string];

/** Has the client leave, once the rest of the answer has been done. */
export interface Disconnect {
  /** For the log. */
  reason?: string | number;
  /** Ends the whole connection. Default: the client leaves the namespace only. */
  close?: boolean;
}
