import type { Unjudged } from '../../config/options.ts';
import type { SourceFiles } from '../build/bundle-job.ts';
import { areOperators, type DatabaseFunctions, type SourceSettings } from '../build/sources.ts';
import { CATALOG } from '../limits.ts';

/** What the functions of an entry's own may name besides its own databases. */
interface Rights {
  readonly targets: ReadonlySet<string>;
  /** for ctx.databases, separated by U+0001 */
  readonly shown: string;
}

/** The options that it follows. */
export interface TargetSettings extends SourceSettings {
  readonly user_functions_allow: readonly Unjudged[];
}

/** Which databases functions may name, and what clients may do that no function judges. */
export class Targets {
  /** the entry of [databases] that a name leads to; null: there is no such database */
  readonly #entryOf: (name: string) => string | null;
  #settings: TargetSettings | null = null;
  #databases: ReadonlyMap<string, DatabaseFunctions> = new Map();
  #fallback: DatabaseFunctions | null = null;
  /** by entry; filled as they are asked for */
  readonly #rights = new Map<string, Rights>();
  /** by the files of a set; filled as they are asked for */
  #operators = new WeakMap<SourceFiles, boolean>();

  constructor(entryOf: (name: string) => string | null) {
    this.#entryOf = entryOf;
  }

  configure(
    settings: TargetSettings,
    databases: ReadonlyMap<string, DatabaseFunctions>,
    fallback: DatabaseFunctions | null,
  ): void {
    this.#settings = settings;
    this.#databases = databases;
    this.#fallback = fallback;
    this.#rights.clear();
    this.#operators = new WeakMap();
  }

  /** Whether clients of a database may do what its functions can't judge. */
  allows(entry: string, what: Unjudged): boolean {
    const own = (this.#databases.get(entry) ?? this.#fallback)?.user_functions_allow;
    return (own ?? this.#settings!.user_functions_allow).includes(what);
  }

  /** Whether the functions of a set, asked for an entry's clients, may name a database. */
  mayName(files: SourceFiles, entry: string, name: string): boolean {
    const target = this.#entryOf(name);
    if (target === null) return false;
    if (target === entry || this.areOperators(files)) return true;
    const { targets } = this.#rightsOf(entry);
    return target.startsWith(`${entry}.`) || targets.has(name) || targets.has(target) || targets.has('*');
  }

  /** What ctx.databases shows to them, separated by U+0001; '': all that are configured. */
  nameable(files: SourceFiles, entry: string): string {
    return this.areOperators(files) ? '' : this.#rightsOf(entry).shown;
  }

  /** Whether no file of a set is a tenant's. */
  areOperators(files: SourceFiles): boolean {
    let known = this.#operators.get(files);
    if (known === undefined) this.#operators.set(files, (known = areOperators(this.#settings!, files)));
    return known;
  }

  /** The same as a list. @param entry null: nobody's clients */
  shownTo(entry: string | null): string[] {
    return entry === null ? [] : this.#rightsOf(entry).shown.split('\u0001');
  }

  #rightsOf(entry: string): Rights {
    let rights = this.#rights.get(entry);
    if (rights === undefined) {
      const targets = new Set((this.#databases.get(entry) ?? this.#fallback)?.routing_targets);
      const variants = [...this.#databases.keys()].filter((name) => name.startsWith(`${entry}.`));
      const names = targets.has('*') ? this.#databases.keys() : [entry, ...variants, ...targets];
      rights = { targets, shown: [...new Set(names)].join('\u0001') };
      // names that clients make up must not fill the memory
      if (this.#rights.size > CATALOG.maxNames) this.#rights.clear();
      this.#rights.set(entry, rights);
    }
    return rights;
  }
}
