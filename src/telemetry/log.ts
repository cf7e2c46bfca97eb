/** The log: pino's records, written synchronously as pgbouncer's lines, as JSON or pretty. */
import { fstatSync } from 'node:fs';
import { createRequire } from 'node:module';
import { inspect } from 'node:util';
import { pino } from 'pino';
import { loggable } from './printable.ts';
import { DescriptorSink, SEVERITY, SyslogSink } from './log-sink.ts';

/**
 * The fields beside the message. Fixed names: event (snake_case, stable), client, server (ids), database, user, peer
 * (address:port), tenant, version, reason, sqlstate, ms, err, file, line, column, frame (source lines, which only the pretty
 * form shows). Never passwords or bind values.
 */
export type LogFields = Readonly<Record<string, unknown>>;

export interface LogMethod {
  (message: string): void;
  (fields: LogFields, message: string): void;
}

/** The part of the settings that the log follows. */
export interface LogSettings {
  readonly logfile: string;
  readonly log_format: 'auto' | 'pgbouncer' | 'json' | 'pretty';
  readonly syslog: boolean;
  readonly syslog_ident: string;
  readonly syslog_facility: string;
  /** 0: LOG and worse; 1: DEBUG too; 2 and more: NOISE too. */
  readonly verbose: number;
}

/** pgbouncer's names of the levels: NOISE, DEBUG, LOG, WARNING, ERROR, FATAL. */
export interface Logger {
  readonly trace: LogMethod;
  readonly debug: LogMethod;
  readonly info: LogMethod;
  readonly warn: LogMethod;
  readonly error: LogMethod;
  readonly fatal: LogMethod;
  isLevelEnabled(level: 'trace' | 'debug' | 'info'): boolean;
  /** Closes the log file and opens it again, for a rotation. If that fails, the old one stays in use. */
  reopen(): void;
  /** Applies changed settings. If the new log file can't be opened, the old one reports that. */
  configure(settings: LogSettings): void;
  /** Calls back with each line that is written; null: with none. */
  listen(listener: LogListener | null): void;
  close(): void;
}

/** @param level pgbouncer's name, such as WARNING */
export type LogListener = (timeMs: number, level: string, message: string) => void;

export interface LogOptions {
  readonly settings: LogSettings;
  /** Writes nothing to stderr (-q, and -d, which has none). */
  readonly quiet?: boolean;
  /** The descriptor to use as stderr. */
  readonly stderr?: number;
  /** Whether that is a terminal. */
  readonly isTerminal?: boolean;
}

const LEVELS = { 10: 'trace', 20: 'debug', 30: 'info', 40: 'warn', 50: 'error', 60: 'fatal' } as const;
type Level = (typeof LEVELS)[keyof typeof LEVELS];
const PGBOUNCER_LEVELS = {
  trace: 'NOISE',
  debug: 'DEBUG',
  info: 'LOG',
  warn: 'WARNING',
  error: 'ERROR',
  fatal: 'FATAL',
} as const;

type Format = 'pgbouncer' | 'json' | 'pretty' | 'journal';

/** One log record, in the forms that sinks may want. */
interface Entry {
  readonly level: Level;
  readonly message: string;
  readonly timeMs: number;
  /** The record as a JSON line. */
  readonly json: string;
  /** The source lines that the record is about; '': none. */
  readonly frame: string;
}

/** The key of `frame` on its way to the sinks: JSON has no symbols. */
const FRAME = Symbol('frame');

/** @throws if the log file can't be opened. */
export function createLog(options: LogOptions): Logger {
  const destination = new Destination(options);
  const logger = pino(
    {
      level: levelOf(options.settings.verbose),
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination,
  );
  destination.logger = logger;
  // pino replaces its methods when the level changes, so ours look them up at each call.
  const method =
    (level: Level): LogMethod =>
    (first: string | LogFields, message?: string): void => {
      if (!logger.isLevelEnabled(level)) return;
      if (typeof first === 'string') logger[level](loggable(first, MAX_MESSAGE));
      else logger[level](loggableFields(first), textOf(first, message ?? ''));
    };
  return {
    trace: method('trace'),
    debug: method('debug'),
    info: method('info'),
    warn: method('warn'),
    error: method('error'),
    fatal: method('fatal'),
    isLevelEnabled: (level) => logger.isLevelEnabled(level),
    reopen: () => destination.reopen(),
    configure(settings) {
      destination.configure(settings);
      logger.level = levelOf(settings.verbose);
    },
    listen: (listener) => {
      destination.listener = listener;
    },
    close: () => destination.close(),
  };
}

/** Limits of a record, whatever a client sends or a server answers; in characters. */
const MAX_MESSAGE = 4096;
const MAX_FIELD = 1024;

/**
 * Messages about clients, servers and databases contain foreign names and texts, so each is kept on one line. A stack, which
 * belongs to `err`, has several.
 */
function textOf({ client, server, database, err }: LogFields, message: string): string {
  const isForeign = client !== undefined || server !== undefined || database !== undefined;
  const isLine = isForeign && err === undefined;
  return loggable(message, MAX_MESSAGE, isLine ? 'line' : 'lines');
}

function loggableFields(fields: LogFields): LogFields {
  const out: Record<string | symbol, unknown> = {};
  for (const [name, value] of Object.entries(fields)) {
    if (name === 'frame' && typeof value === 'string') out[FRAME] = loggable(value, MAX_MESSAGE);
    else if (typeof value === 'string') out[name] = loggable(value, MAX_FIELD);
    else if (value instanceof Error) out[name] = loggableError(value);
    else out[name] = value;
  }
  return out;
}

/** pino's form of an error. */
function loggableError({ name, message, stack }: Error): object {
  return {
    type: name,
    message: loggable(message, MAX_FIELD),
    stack: loggable(stack ?? '', MAX_MESSAGE),
  };
}

function levelOf(verbose: number): Level {
  if (verbose <= 0) return 'info';
  return verbose === 1 ? 'debug' : 'trace';
}

/** With this on its stream, pino fills the stream's last… fields in before each write. */
const WANTS_METADATA: unique symbol = Symbol.for('pino.metadata') as never;

/** pino's stream. */
class Destination {
  readonly [WANTS_METADATA] = true;
  lastLevel: keyof typeof LEVELS = 30;
  lastMsg: string | undefined;
  lastObj: { err?: unknown; [FRAME]?: string | undefined } | null | undefined;
  logger: pino.Logger | null = null;
  listener: LogListener | null = null;

  #settings: LogSettings;
  readonly #isTerminal: boolean;
  /** stderr goes to systemd's journal, which knows time and process itself */
  readonly #isJournal: boolean;
  readonly #stderr: DescriptorSink | null;
  #file: DescriptorSink | null = null;
  #syslog: SyslogSink | null = null;

  constructor({ settings, quiet = false, stderr = 2, isTerminal = process.stderr.isTTY }: LogOptions) {
    this.#settings = settings;
    this.#isTerminal = isTerminal;
    this.#isJournal = !quiet && isJournal(stderr);
    this.#stderr = quiet ? null : new DescriptorSink(stderr, false);
    if (settings.logfile !== '') this.#file = openLogfile(settings.logfile);
    this.#openSyslog();
  }

  write(json: string): void {
    const entry: Entry = {
      level: LEVELS[this.lastLevel] ?? 'info',
      message: this.lastMsg ?? messageOf(this.lastObj?.err),
      timeMs: Date.now(),
      json,
      frame: this.lastObj?.[FRAME] ?? '',
    };
    if (this.#file !== null) this.#writeTo(this.#file, entry, this.#format('logfile'));
    if (this.#stderr !== null) this.#writeTo(this.#stderr, entry, this.#format('stderr'));
    this.#syslog?.write(entry.level, entry.message);
    this.listener?.(entry.timeMs, PGBOUNCER_LEVELS[entry.level], entry.message);
  }

  #format(target: 'logfile' | 'stderr'): Format {
    const format = this.#settings.log_format;
    if (format !== 'auto') return format;
    if (target === 'logfile') return 'pgbouncer';
    if (this.#isJournal) return 'journal';
    return this.#isTerminal ? 'pretty' : 'json';
  }

  #writeTo(sink: DescriptorSink, entry: Entry, format: Format): void {
    const isColoured = sink === this.#stderr && this.#isTerminal;
    sink.write(render(entry, format, isColoured), (lost, reason) =>
      render(lostNotice(lost, reason), format, isColoured),
    );
  }

  reopen(): void {
    if (this.#file === null) return;
    try {
      this.#file.reopen(this.#settings.logfile);
    } catch (error) {
      this.logger?.warn({ event: 'log_reopen' }, `could not reopen logfile: ${messageOf(error)}`);
    }
  }

  configure(settings: LogSettings): void {
    const old = this.#settings;
    this.#settings = settings;
    if (settings.logfile !== old.logfile) this.#switchFile(old.logfile);
    const isSame =
      settings.syslog === old.syslog &&
      settings.syslog_ident === old.syslog_ident &&
      settings.syslog_facility === old.syslog_facility;
    if (!isSame) this.#openSyslog();
  }

  #switchFile(oldName: string): void {
    const name = this.#settings.logfile;
    try {
      const fresh = name === '' ? null : openLogfile(name);
      this.#file?.close();
      this.#file = fresh;
    } catch (error) {
      this.#settings = { ...this.#settings, logfile: oldName };
      this.logger?.warn({ event: 'log_reopen' }, messageOf(error));
    }
  }

  #openSyslog(): void {
    this.#syslog?.close();
    this.#syslog = null;
    const { syslog, syslog_ident, syslog_facility } = this.#settings;
    if (!syslog) return;
    this.#syslog = new SyslogSink(syslog_ident, syslog_facility, (reason) => {
      this.#syslog = null;
      this.logger?.warn({ event: 'syslog_unavailable' }, `no log lines go to syslog: ${reason}`);
    });
  }

  close(): void {
    this.#syslog?.close();
    this.#syslog = null;
    this.#file?.close();
    this.#file = null;
  }
}

/** Whether this descriptor is the journal's, by $JOURNAL_STREAM (systemd.exec(5)). */
function isJournal(fd: number): boolean {
  const stream = process.env['JOURNAL_STREAM'];
  if (!stream) return false;
  const { dev, ino } = fstatSync(fd, { bigint: true });
  return stream === `${dev}:${ino}`;
}

function openLogfile(file: string): DescriptorSink {
  try {
    return DescriptorSink.open(file);
  } catch (error) {
    throw new Error(`could not open logfile: ${messageOf(error)}`, { cause: error });
  }
}

function messageOf(error: unknown): string {
  if (error === undefined || error === null) return '';
  return error instanceof Error ? error.message : inspect(error);
}

function lostNotice(lost: number, reason: string): Entry {
  const timeMs = Date.now();
  const message = `${lost} log ${lost === 1 ? 'line was' : 'lines were'} lost (${reason})`;
  const record = {
    level: 'warn',
    time: new Date(timeMs).toISOString(),
    pid: process.pid,
    event: 'log_lost',
    lost,
  };
  return {
    level: 'warn',
    message,
    timeMs,
    frame: '',
    json: `${JSON.stringify({ ...record, msg: message })}\n`,
  };
}

function render(entry: Entry, format: Format, isColoured: boolean): string {
  if (format === 'json') return entry.json;
  if (format === 'pretty') {
    const frame = entry.frame === '' ? '' : `\t${entry.frame.replaceAll('\n', '\n\t')}\n`;
    return prettyPrinter(isColoured)(entry.json) + frame;
  }
  // pgbouncer continues a message on indented lines, so that none can pass for another record.
  const message = entry.message.trimEnd().replaceAll('\n', '\n\t');
  // each line is a record of its own (sd-daemon(3))
  if (format === 'journal') return `${message.replaceAll(/^/gm, `<${SEVERITY[entry.level]}>`)}\n`;
  return `${timestamp(entry.timeMs)} [${process.pid}] ${PGBOUNCER_LEVELS[entry.level]} ${message}\n`;
}

type Printer = (json: string) => string;
const printers = new Map<boolean, Printer>();

/** pino-pretty is loaded with the first line that needs it. */
function prettyPrinter(isColoured: boolean): Printer {
  let printer = printers.get(isColoured);
  if (printer === undefined) {
    const { prettyFactory } = createRequire(import.meta.url)('pino-pretty') as typeof import('pino-pretty');
    printer = prettyFactory({
      colorize: isColoured,
      translateTime: 'SYS:HH:MM:ss.l',
      ignore: 'pid,hostname',
      singleLine: true,
      // as in pgbouncer's form: no line can pass for another record
      messageFormat: (record, key) => (record[key] as string).replaceAll('\n', '\n\t'),
    }) as Printer;
    printers.set(isColoured, printer);
  }
  return printer;
}

/** `YYYY-MM-DD HH:MM:SS.mmm ZONE` in local time. */
export function timestamp(timeMs: number): string {
  const at = new Date(timeMs);
  const two = (value: number): string => String(value).padStart(2, '0');
  const date = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return `${date} ${time}.${String(at.getMilliseconds()).padStart(3, '0')} ${zoneOf(at)}`;
}

/** Each locale knows the abbreviations of some zones only. */
const LOCALES = ['en-US', 'en-GB', 'en-AU', 'en-NZ', 'en-IN', 'en-ZA', 'ja-JP'];
let lastZone = { offset: Number.NaN, name: '' };

/** strftime's %Z: `CET`, or `+03` where the zone has no abbreviation. */
function zoneOf(at: Date): string {
  const offset = at.getTimezoneOffset();
  if (offset === lastZone.offset) return lastZone.name;
  let name = '';
  for (const locale of LOCALES) {
    const parts = new Intl.DateTimeFormat(locale, { timeZoneName: 'short' }).formatToParts(at);
    const found = parts.find((part) => part.type === 'timeZoneName')?.value ?? '';
    if (/^[A-Z]{3,5}$/.test(found)) {
      name = found;
      break;
    }
  }
  if (name === '') {
    const minutes = Math.abs(offset);
    const rest = minutes % 60 === 0 ? '' : String(minutes % 60).padStart(2, '0');
    name = `${offset > 0 ? '-' : '+'}${String(Math.floor(minutes / 60)).padStart(2, '0')}${rest}`;
  }
  lastZone = { offset, name };
  return name;
}
