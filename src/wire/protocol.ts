/**
 * Constants of protocol 3 ("Message Formats" in PostgreSQL's manual). Types of messages are numbers, because the relays
 * compare them with bytes. A letter can mean different messages in the two directions, hence two tables.
 */

/** Messages that a client sends. */
export const Frontend = {
  Bind: 0x42, // B
  Close: 0x43, // C
  CopyData: 0x64, // d
  CopyDone: 0x63, // c
  CopyFail: 0x66, // f
  Describe: 0x44, // D
  Execute: 0x45, // E
  Flush: 0x48, // H
  FunctionCall: 0x46, // F
  Parse: 0x50, // P
  Password: 0x70, // p: PasswordMessage, SASLInitialResponse, SASLResponse
  Query: 0x51, // Q
  Sync: 0x53, // S
  Terminate: 0x58, // X
} as const;

/** Messages that a server sends. */
export const Backend = {
  Authentication: 0x52, // R
  BackendKeyData: 0x4b, // K
  BindComplete: 0x32, // 2
  CloseComplete: 0x33, // 3
  CommandComplete: 0x43, // C
  CopyBothResponse: 0x57, // W
  CopyData: 0x64, // d
  CopyDone: 0x63, // c
  CopyInResponse: 0x47, // G
  CopyOutResponse: 0x48, // H
  DataRow: 0x44, // D
  EmptyQueryResponse: 0x49, // I
  ErrorResponse: 0x45, // E
  FunctionCallResponse: 0x56, // V
  NegotiateProtocolVersion: 0x76, // v
  NoData: 0x6e, // n
  NoticeResponse: 0x4e, // N
  NotificationResponse: 0x41, // A
  ParameterDescription: 0x74, // t
  ParameterStatus: 0x53, // S
  ParseComplete: 0x31, // 1
  PortalSuspended: 0x73, // s
  ReadyForQuery: 0x5a, // Z
  RowDescription: 0x54, // T
} as const;

/** Transaction status byte of ReadyForQuery. */
export const TxStatus = {
  Idle: 0x49, // I
  InTransaction: 0x54, // T
  Failed: 0x45, // E
} as const;

/** Size of a message's header: a type byte and an int32 length, which counts itself but not the type. */
export const HEADER_BYTES = 5;

/** Codes of start-up packets, in the place of a StartupMessage's protocol version. */
export const StartupCode = {
  V2: 0x00020000,
  V3: 0x00030000,
  Cancel: 80877102,
  Ssl: 80877103,
  Gss: 80877104,
} as const;

/** The newest minor version of protocol 3 that is supported: 3.2 (PostgreSQL 18), with cancel keys of up to 256 bytes. */
export const NEWEST_MINOR = 2;

/** The longest StartupMessage that PostgreSQL accepts (MAX_STARTUP_PACKET_LENGTH), in bytes. */
export const MAX_STARTUP_BYTES = 10_000;
