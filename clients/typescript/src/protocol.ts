// Generated from src/wire/schema by tools/generate.mjs: do not edit.

/** Names a conversation, a user, a device or a message: at most 200 bytes of UTF-8. */
export type Id = string;

/** A client's own name for something: at most 200 bytes of printable text. */
export type Label = string;

/** Chosen by the client, echoed by the server. */
export type RequestId = string | number;

/** Milliseconds since the Unix epoch. */
export type Time = number;

/** The place of an event in its room's log. */
export type Seq = number;

/** The last event that a cursor covers; 0 for none. */
export type Cursor = number;

/** Which log; it changes only when the log was lost. */
export type Epoch = string;

/** 1, and one more with each edit. */
export type Version = number;

/** Any JSON: the application's. */
export type Content = unknown;

export type Status = "online" | "away" | "busy" | "dnd" | "offline";

/** What a client has of a room. */
export interface Since {
  readonly epoch: Epoch;
  readonly seq: Cursor;
  /** The message of that event, if it was about one. */
  readonly messageId?: string;
}

/** How available a user is. */
export interface Presence {
  readonly userId: Id;
  readonly status: Status;
  /** Now, unless offline; null if it is not known. */
  readonly lastSeenAt: Time | null;
  readonly text?: string;
}

/** A message, live or in its present state. */
export interface Message {
  readonly conversationId: Id;
  readonly messageId: Id;
  readonly seq?: Seq;
  readonly epoch?: Epoch;
  /** The author. */
  readonly userId: Id;
  readonly deviceId?: Id;
  /** The author's own name for the message. */
  readonly tempId?: Label;
  readonly type: Label;
  /** Absent if the message was deleted since. */
  readonly content?: Content;
  readonly replyTo?: Label;
  readonly version: Version;
  readonly sentAt: Time;
  readonly editedAt?: Time;
  /** Only in what is recovered. */
  readonly deletedAt?: Time;
  /** It comes from the log after `auth`, not live. */
  readonly queued?: true;
}

/** What `history` says of a message that was deleted. */
export interface DeletedMessage {
  readonly messageId: Id;
  readonly seq: Seq;
  readonly userId: Id;
  readonly deletedAt: Time;
}

/** A missed event, as it would have been pushed. */
export interface LoggedEvent {
  readonly event: string;
  readonly data: unknown;
}

/** A room of the user, as `auth-success` tells of it. */
export interface RoomState {
  readonly conversationId: Id;
  readonly epoch?: Epoch;
  /** The last event in the log. */
  readonly seq?: Cursor;
  readonly delivered?: Cursor;
  readonly seen?: Cursor;
  /** Messages of others above `seen`. */
  readonly unread?: number;
}

/** How far a message has come with one member. */
export interface MessageState {
  readonly userId: Id;
  readonly deliveredAt?: Time;
  readonly seenAt?: Time;
}

export interface Server {
  readonly name: string;
  readonly version: string;
  /** Which process was reached. */
  readonly node: string;
  /** What a `message-ack` promises. */
  readonly durability: "memory" | "disk" | "redis" | "replicated";
}

export interface Limits {
  readonly messageBytesMax: number;
  readonly roomsMax: number;
  readonly pingMs: number;
}

export type ErrorCode = "AUTH_TIMEOUT" | "AUTH_FAILED" | "NOT_AUTHENTICATED" | "TOKEN_EXPIRED" | "JOIN_ROOM_FAILED" | "FORBIDDEN" | "NOT_A_MEMBER" | "INVALID_FRAME" | "INVALID_PAYLOAD" | "PAYLOAD_TOO_LARGE" | "UNKNOWN_EVENT" | "MESSAGE_NOT_FOUND" | "EDIT_CONFLICT" | "RATE_LIMITED" | "LIMIT_EXCEEDED" | "REJECTED" | "POLICY_UNAVAILABLE" | "STORE_UNAVAILABLE" | "INTERNAL";

export interface AuthRequest {
  readonly token: string;
  /** Which of the user's devices this is. */
  readonly deviceId?: Id;
  /** Under which names pushes come. */
  readonly dialect?: "room" | "conversation";
  /** Whether several pushes may share a WebSocket message. */
  readonly batch?: boolean;
  readonly presence?: Status;
  /** Whether what provably arrived counts as delivered. */
  readonly autoAck?: boolean;
  /** Whether to be live in all rooms of the user at once. */
  readonly attach?: boolean;
  /** What the client has, by room. */
  readonly since?: Readonly<Record<string, Since>>;
}

export type NothingRequest = Readonly<Record<string, never>>;

export interface RoomRequest {
  readonly conversationId: Id;
}

export interface JoinRequest {
  readonly conversationId: Id;
  readonly since?: Since;
}

/** The newest messages, or those before or after a `seq`. */
export interface HistoryRequest {
  readonly conversationId: Id;
  readonly before?: number;
  readonly after?: number;
  /** Above 200 counts as 200. */
  readonly limit?: number;
}

export interface SendRequest {
  readonly conversationId: Id;
  /** Makes the message safe to send again. */
  readonly tempId?: Label;
  /** The application's kind of message; `text` if absent. */
  readonly type?: Label;
  readonly content: Content;
  readonly replyTo?: Label;
  /** The sending connection gets no push of it. */
  readonly noEcho?: boolean;
}

export interface EditRequest {
  readonly conversationId: Id;
  readonly messageId: Id;
  readonly content: Content;
  /** Edit only if the message is at this version. */
  readonly ifVersion?: number;
}

export interface DeleteRequest {
  readonly conversationId: Id;
  readonly messageId: Id;
}

/** Raises a cursor: up to a `seq`, or to the highest of some messages. */
export interface AckRequest {
  readonly conversationId: Id;
  readonly upTo?: Cursor;
  readonly messageIds?: readonly Id[];
}

export interface GetMessageStatusRequest {
  readonly conversationId: Id;
  readonly messageId: Id;
  /** Pages: users behind this one. */
  readonly after?: Id;
}

export interface PresenceUpdateRequest {
  readonly status: Status;
  readonly text?: string;
}

export interface UsersRequest {
  readonly userIds: readonly Id[];
}

export interface AuthSuccessReply {
  readonly userId: Id;
  /** This connection. */
  readonly sessionId: string;
  readonly deviceId?: Id;
  readonly expiresAt?: Time;
  readonly server: Server;
  readonly limits: Limits;
  readonly rooms: readonly RoomState[];
  /** How many missed events follow. */
  readonly queued?: number;
}

export interface HeartbeatAckReply {
  readonly at: Time;
}

export interface RoomJoinedReply {
  readonly conversationId: Id;
  readonly epoch?: Epoch;
  readonly seq?: Cursor;
  /** Whether `messages` is exactly what was missed. */
  readonly recovered: boolean;
  readonly messages: readonly LoggedEvent[];
  readonly members: number;
}

export interface RoomLeftReply {
  readonly conversationId: Id;
  /** Only in the push. */
  readonly reason?: string;
}

export interface OnlineUsersReply {
  readonly conversationId: Id;
  readonly users: readonly Id[];
  readonly hasMore?: boolean;
}

export interface HistoryReply {
  readonly conversationId: Id;
  readonly epoch?: Epoch;
  readonly messages: readonly (Message | DeletedMessage)[];
  readonly hasMore: boolean;
}

export interface MessageAckReply {
  readonly tempId?: Label;
  readonly messageId: Id;
  readonly conversationId: Id;
  /** Absent in a room without a log, and when a plugin discarded the message. */
  readonly seq?: Seq;
  readonly epoch?: Epoch;
  readonly sentAt: Time;
  /** Whether an earlier request had the same `tempId`. */
  readonly duplicate: boolean;
}

/** Done, and nothing to say. */
export type OkReply = Readonly<Record<string, never>>;

export interface EditedReply {
  readonly messageId: Id;
  readonly version: Version;
  readonly seq: Seq;
}

export interface DeletedReply {
  readonly messageId: Id;
  readonly seq: Seq;
}

export interface MessageStatusReply {
  readonly conversationId?: Id;
  readonly messageId: Id;
  readonly status: "sent" | "delivered" | "read";
  readonly users: readonly MessageState[];
  readonly hasMore: boolean;
}

export interface PresenceStatusReply {
  readonly users: readonly Presence[];
}

export interface TypingUsersReply {
  readonly conversationId: Id;
  readonly users: readonly Id[];
}

export interface ErrorReply {
  readonly code: ErrorCode;
  /** For people; its wording may change. */
  readonly message: string;
  /** Whether the same request may succeed later. */
  readonly retryable: boolean;
  readonly retryAfterMs?: number;
  /** A finer code. */
  readonly reason?: string;
  /** Which plugin refused, or failed. */
  readonly plugin?: string;
  /** Which request was refused, where it had no `id`. */
  readonly event?: string;
  readonly details?: unknown;
}

export interface MessageDeletedPush {
  readonly conversationId: Id;
  readonly messageId: Id;
  readonly seq: Seq;
  readonly epoch: Epoch;
  /** Who deleted it. */
  readonly userId: Id;
  readonly deletedAt: Time;
}

export interface MemberPush {
  readonly conversationId: Id;
  readonly userId: Id;
  readonly seq?: Seq;
  readonly epoch?: Epoch;
  readonly at: Time;
}

/** A user's cursor grew. */
export interface ReceiptPush {
  readonly conversationId: Id;
  readonly userId: Id;
  readonly type: "delivered" | "seen";
  readonly upTo: Seq;
  readonly messageId?: Id;
  readonly at: Time;
}

export interface TypingPush {
  readonly conversationId: Id;
  readonly userId: Id;
  readonly isTyping: boolean;
}

/** Events of a room may have been missed and cannot be given. */
export interface ResyncPush {
  readonly conversationId: Id;
  readonly epoch?: Epoch;
  readonly reason: string;
}

/** All that was missed has been sent. */
export interface QueueFlushedPush {
  readonly count: number;
}

export interface TokenExpiringPush {
  readonly expiresAt: Time;
}

export interface GoingAwayPush {
  readonly reconnectInMs: number;
}

/** What can be asked, and what the answer is. */
export interface Requests {
  /** say who you are, or bring a fresh token. */
  readonly "auth": { readonly data: AuthRequest; readonly reply: AuthSuccessReply };
  /** find out whether the connection is alive. */
  readonly "heartbeat": { readonly data: NothingRequest; readonly reply: HeartbeatAckReply };
  /** become a member, be live in the room, get what was missed. */
  readonly "join-room": { readonly data: JoinRequest; readonly reply: RoomJoinedReply };
  /** end the membership. */
  readonly "leave-room": { readonly data: RoomRequest; readonly reply: RoomLeftReply };
  /** which members are connected. */
  readonly "get-online-users": { readonly data: RoomRequest; readonly reply: OnlineUsersReply };
  /** read messages page by page. */
  readonly "history": { readonly data: HistoryRequest; readonly reply: HistoryReply };
  /** send. */
  readonly "send-message": { readonly data: SendRequest; readonly reply: MessageAckReply };
  /** give a message new content. */
  readonly "edit-message": { readonly data: EditRequest; readonly reply: EditedReply };
  /** delete a message. */
  readonly "delete-message": { readonly data: DeleteRequest; readonly reply: DeletedReply };
  /** say what arrived. */
  readonly "ack": { readonly data: AckRequest; readonly reply: OkReply };
  /** say what was seen. */
  readonly "mark-read": { readonly data: AckRequest; readonly reply: OkReply };
  /** who has a message, and who has seen it. */
  readonly "get-message-status": { readonly data: GetMessageStatusRequest; readonly reply: MessageStatusReply };
  /** say how available you are. */
  readonly "presence-update": { readonly data: PresenceUpdateRequest; readonly reply: OkReply };
  /** how available users are. */
  readonly "get-presence": { readonly data: UsersRequest; readonly reply: PresenceStatusReply };
  /** be told how available users are. */
  readonly "subscribe-presence": { readonly data: UsersRequest; readonly reply: PresenceStatusReply };
  /** be told no more. */
  readonly "unsubscribe-presence": { readonly data: UsersRequest; readonly reply: OkReply };
  /** say that you are writing. */
  readonly "typing-start": { readonly data: RoomRequest; readonly reply: OkReply };
  /** say that you stopped. */
  readonly "typing-stop": { readonly data: RoomRequest; readonly reply: OkReply };
  /** who is writing. */
  readonly "get-typing-users": { readonly data: RoomRequest; readonly reply: TypingUsersReply };
}

/** What the server sends unasked. */
export interface Pushes {
  /** a message was sent. */
  readonly "message-new": Message;
  /** a message got new content. */
  readonly "message-edited": Message;
  /** a message was deleted. */
  readonly "message-deleted": MessageDeletedPush;
  /** a user became a member. */
  readonly "member-joined": MemberPush;
  /** a user is a member no longer. */
  readonly "member-left": MemberPush;
  /** your user joined a room on another device. */
  readonly "room-joined": RoomJoinedReply;
  /** your user is no member of a room any more. */
  readonly "room-left": RoomLeftReply;
  /** a member has, or has seen, messages. */
  readonly "receipt": ReceiptPush;
  /** a user's availability changed. */
  readonly "presence": Presence;
  /** a member is writing. */
  readonly "typing": TypingPush;
  /** a member stopped writing. */
  readonly "typing-stop": TypingPush;
  /** a room's missed events cannot be given to you. */
  readonly "resync": ResyncPush;
  /** all that you missed has been sent. */
  readonly "queue-flushed": QueueFlushedPush;
  /** your token expires soon. */
  readonly "token-expiring": TokenExpiringPush;
  /** the server is about to stop. */
  readonly "going-away": GoingAwayPush;
  /** a request without an id was refused, or the connection is being closed. */
  readonly "error": ErrorReply;
  /** you are who the handshake said. */
  readonly "auth-success": AuthSuccessReply;
}
