/**
 * The order of the house. A folder imports from the folders below it, never from one above. oxlint.config.ts turns these
 * lists into lint rules, and docs/architecture.md describes them.
 */

/** The folders and files of src/, topmost first. */
export const LAYERS = [
  'cli',
  'demo',
  'proxy.ts',
  'steering.ts',
  'configuration.ts',
  'listener.ts',
  'http',
  'otlp',
  'metrics',
  'admin',
  'session',
  'switchover',
  'fleet',
  'functions',
  'pool',
  'auth',
  'config',
  'sql',
  'lifecycle.ts',
  'telemetry',
  'wire',
  'platform',
] as const;

/** The folders and files of src/session/, topmost first. */
export const SESSION_LAYERS = [
  'observe.ts',
  'descriptors.ts',
  'suspend.ts',
  'timeouts.ts',
  'sessions.ts',
  'login',
  'relay',
  'statements',
  'query',
  'resend',
  'leave.ts',
  'cancel.ts',
  'phase.ts',
  'send',
  'link',
  'client.ts',
  'state',
] as const;

/** The folders and files of src/functions/, topmost first. */
export const FUNCTION_LAYERS = [
  'functions.ts',
  'shared',
  'tenants',
  'store',
  'rollout',
  'decide',
  'sandbox',
  'build',
  'limits.ts',
] as const;

/** Imports that the order would allow and the design does not. */
export const APART = [
  {
    from: 'functions',
    to: 'pool',
    why: 'functions decides about queries; it knows no connections',
  },
  {
    from: 'switchover',
    to: 'functions',
    why: 'switchover watches nodes; it knows no rules',
  },
  {
    from: 'functions/sandbox',
    to: 'build',
    why: 'the sandbox runs a bundle; it does not know how one is made',
  },
] as const;
