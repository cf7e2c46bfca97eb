/** The targets of user functions: databases that they may name besides the one for which they are asked. */
import type { Unjudged } from '../../config/options.ts';
import type { SourceFiles } from '../build/bundle-job.ts';
import { areOperators } from '../build/sources.ts';
import { CATALOG } from '../limits.ts';
import type { FunctionsConfig } from './settings.ts';

/** What functions that are not the operator's may name for an entry's clients. */
interface Rights {
  /** the databases of the entry's tenant, or the entry itself */
  readonly own: ReadonlySet<string>;
  /** besides these */
  readonly targets: ReadonlySet<string>;
  /** ctx.databases; the same list until the configuration changes */
  readonly shown: readonly string[];
}

/** The databases that functions may name, and the things that clients may do although no function judges them. */
export class Targets {
  /** the entry of [databases] that a name leads to; null: there is no such database */
  readonly #entryOf: (name: string) => string | null;
  #config: FunctionsConfig;
  /** by entry; filled on demand */
  readonly #rights = new Map<string, Rights>();
  /** by the files of a tenant; filled on demand */
  #operators = new WeakMap<SourceFiles, boolean>();

  constructor(config: FunctionsConfig, entryOf: (name: string) => string | null) {
    this.#config = config;
    this.#entryOf = entryOf;
  }

  configure(config: FunctionsConfig): void {
    this.#config = config;
    this.#rights.clear();
    this.#operators = new WeakMap();
  }

  /** Whether clients of a database may do things that its functions can't judge. */
  allows(entry: string, what: Unjudged): boolean {
    const own = this.#config.databaseOf(entry)?.user_functions_allow;
    return (own ?? this.#config.settings.user_functions_allow).includes(what);
  }

  /** Whether the functions of a tenant, asked for an entry's clients, may name a database. */
  mayName(files: SourceFiles, entry: string, name: string): boolean {
    const target = this.#entryOf(name);
    if (target === null) return false;
    if (target === entry || this.areOperators(files)) return true;
    const { own, targets } = this.#rightsOf(entry);
    if (own.has(target) || targets.has(name) || targets.has(target) || targets.has('*')) return true;
    return this.#isVariant(target, own, entry);
  }

  /** ctx.databases of an entry's clients; undefined: all configured databases. */
  nameable(files: SourceFiles, entry: string): readonly string[] | undefined {
    return this.areOperators(files) ? undefined : this.#rightsOf(entry).shown;
  }

  /** Whether all functions are the operator's, and none is a database's own. */
  areOperators(files: SourceFiles): boolean {
    let known = this.#operators.get(files);
    if (known === undefined) this.#operators.set(files, (known = areOperators(this.#config.settings, files)));
    return known;
  }

  /** The functions whose files are the operator's: `routing,rewrite`; '': none. */
  operatorsIn({ routing, rewrite }: SourceFiles): string {
    const isOperators = (file: string | null): boolean =>
      file !== null && areOperators(this.#config.settings, { routing: file, rewrite: null });
    return [isOperators(routing) ? 'routing' : '', isOperators(rewrite) ? 'rewrite' : '']
      .filter(Boolean)
      .join();
  }

  /**
   * The value of ctx.databases when a call brings no list of its own.
   * @param entry one whose clients the functions judge; null: none
   */
  shown(files: SourceFiles, entry: string | null): readonly string[] {
    if (this.areOperators(files)) return [...this.#config.databases.keys()];
    return entry === null ? [] : this.#rightsOf(entry).shown;
  }

  /**
   * Whether a routing function of the operator's may name fewer databases than others, because of the rewriting function
   * beside it.
   */
  isMixed(files: SourceFiles): boolean {
    const { routing, rewrite } = files;
    if (routing === null || rewrite === null || this.areOperators(files)) return false;
    return areOperators(this.#config.settings, { routing, rewrite: null });
  }

  /** Whether a name is `OWN.*` of a database of the entry's tenant, and no other tenant's database. */
  #isVariant(name: string, own: ReadonlySet<string>, entry: string): boolean {
    const owner = this.#config.tenantOf(name);
    if (owner !== undefined && owner !== this.#config.tenantOf(entry)) return false;
    for (let dot = name.indexOf('.'); dot !== -1; dot = name.indexOf('.', dot + 1))
      if (own.has(name.slice(0, dot))) return true;
    return false;
  }

  #rightsOf(entry: string): Rights {
    let rights = this.#rights.get(entry);
    if (rights === undefined) {
      const tenant = this.#config.tenantOf(entry);
      const own = new Set([entry, ...(tenant?.databases ?? [])]);
      const { targets: more } = tenant ?? this.#config.tenantDefaults;
      const targets = new Set([...(this.#config.databaseOf(entry)?.routing_targets ?? []), ...more]);
      const variants = [...this.#config.databases.keys()].filter((name) => this.#isVariant(name, own, entry));
      const names = targets.has('*') ? this.#config.databases.keys() : [...own, ...variants, ...targets];
      rights = { own, targets, shown: [...new Set(names)] };
      // names that clients make up must not fill the memory
      if (this.#rights.size > CATALOG.maxNames) this.#rights.clear();
      this.#rights.set(entry, rights);
    }
    return rights;
  }
}
