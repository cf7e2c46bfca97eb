import { readSync, writeSync } from 'node:fs';
import { Engine } from './engine.ts';
import { encodeMessage, MessageReader, type Hello, type HostMessage } from './protocol.ts';
import type { VersionCode } from './host.ts';

/**
 * Main of a sandbox host process: isolates and nothing else. It has an empty environment, no descriptors but its pipes,
 * and ends when its parent's end of them closes. Batches are worked on strictly in order: the first one without an
 * answer is the one that is running.
 */

let engine: Engine | null = null;
const reader = new MessageReader();

function send(message: HostMessage): void {
  const bytes = encodeMessage(message);
  for (let at = 0; at < bytes.length;) at += writeSync(1, bytes, at);
}

function handle(message: HostMessage): void {
  switch (message.kind) {
    case 'hello':
      engine = new Engine((JSON.parse(message.text) as Hello).prelude);
      return send({ kind: 'ready', id: 0, text: '' });
    case 'load':
      return send({
        kind: 'loaded',
        id: message.id,
        text: engine!.load(JSON.parse(message.text) as VersionCode),
      });
    case 'dispose':
      return engine!.dispose(message.id);
    case 'batch': {
      const end = message.text.indexOf('\0');
      const id = Number(message.text.slice(0, end));
      const answers = engine!.run(id, message.text.slice(end + 1), (nextMs) =>
        send({ kind: 'alive', id: message.id, text: String(nextMs) }),
      );
      return send({ kind: 'answers', id: message.id, text: `${engine!.heapBytes(id)}\0${answers}` });
    }
    default:
      throw new Error(`unexpected message: ${message.kind}`);
  }
}

// The parent decides when it is time: a terminal's Ctrl-C goes to the whole group.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => {});

// There is nothing to do but the next message, so reading may block: that costs a third of what an event loop does.
const chunk = Buffer.allocUnsafe(256 * 1024);
for (let size = readSync(0, chunk); size > 0; size = readSync(0, chunk)) {
  for (const message of reader.push(Buffer.from(chunk.subarray(0, size)))) handle(message);
}
