/**
 * A companion process that cleans up after this one, however it ends: even after a SIGKILL, an abort or a closed terminal,
 * running children are ended and temporary folders are removed.
 * It is a shell and not a Node process because it must cost next to nothing. It needs no signal, poll or pidfile to notice our
 * end: its standard input is a pipe that only we hold, which the kernel closes for us.
 */
import type { ChildProcess } from 'node:child_process';
import { startProcess } from './start-process.ts';

// Lines are `+p PID` (end this process), `+d PATH` (remove this folder), and the same with `-` to forget it. A process gets
// the signal that ends PostgreSQL and pgswitchyard at once (SIGQUIT, after a SIGCONT in case it was frozen), two seconds, then
// SIGKILL. A folder in which children are still writing needs several tries. Nothing here may hold a pattern character: the
// paths are our own. Text that is not in a list is left alone: to cut it out would double the list each time.
const SCRIPT = `
trap '' INT TERM HUP QUIT
pids=' ' dirs='
'
while read -r what item; do
  case $what in
    +p) pids="$pids$item " ;;
    -p) case $pids in *" $item "*) pids="\${pids%% $item *} \${pids#* $item }" ;; esac ;;
    +d) dirs="$dirs$item
" ;;
    -d) case $dirs in *"
$item
"*) dirs="\${dirs%%
$item
*}
\${dirs#*
$item
}" ;; esac ;;
  esac
done
for pid in $pids; do kill -CONT "$pid"; kill -QUIT "$pid"; done 2>/dev/null
for pid in $pids; do
  i=0
  while [ $i -lt 40 ] && kill -0 "$pid"; do sleep 0.05; i=$((i+1)); done
  kill -KILL "$pid"
done 2>/dev/null
IFS='
'
for dir in $dirs; do
  i=0
  while [ -n "$dir" ] && [ -e "$dir" ] && [ $i -lt 40 ]; do
    rm -rf -- "$dir" || sleep 0.05
    i=$((i+1))
  done
done
`;

let companion: ChildProcess | undefined;

function tell(line: string): void {
  if (companion === undefined) {
    // detached: a Ctrl-C in the terminal goes to the whole foreground group and must not end it.
    companion = startProcess('/bin/sh', ['-c', SCRIPT], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
      cwd: '/',
    });
    // without descriptors or memory, for example: the next child tries again
    companion.on('error', () => (companion = undefined));
    companion.stdin?.on('error', () => {});
    companion.unref();
    (companion.stdin as unknown as { unref(): void } | null)?.unref();
  }
  companion.stdin?.write(`${line}\n`);
}

/** Ends this process when ours is gone. */
export function reapProcess(pid: number): void {
  tell(`+p ${pid}`);
}

/** Call this when the process has ended, since its number may be given to another one. */
export function forgetProcess(pid: number): void {
  tell(`-p ${pid}`);
}

/** Removes this folder when ours is gone. */
export function reapFolder(path: string): void {
  tell(`+d ${path}`);
}

export function forgetFolder(path: string): void {
  tell(`-d ${path}`);
}
