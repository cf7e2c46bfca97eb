/** SHOW CONFIG. */
import type { Config } from './config.ts';
import { OPTION_NAMES, optionOf } from './options.ts';
import type { OptionName } from './options.ts';

/** A row of SHOW CONFIG; null is SQL's NULL. */
export interface ConfigRow {
  readonly key: string;
  readonly value: string | null;
  readonly default: string | null;
  readonly changeable: 'yes' | 'no';
}

/** SHOW CONFIG. A secret's value is replaced by stars. */
export function showConfig(config: Config): readonly ConfigRow[] {
  return OPTION_NAMES.filter((name) => optionOf(name).shown).map((name) => ({
    key: name,
    value: showValue(config, name),
    default: optionOf(name).default,
    changeable: optionOf(name).reload ? 'yes' : 'no',
  }));
}

function showValue(config: Config, name: OptionName): string | null {
  const option = optionOf(name);
  const value = config.settings[name];
  if (value === null) return null;
  if (option.secret && value !== '') return '********';
  // Lists keep the blanks, and our folder the form, that they have in the file.
  if (Array.isArray(value) || name === 'user_functions_dir') {
    return config.texts?.get(name) ?? option.default;
  }
  return option.kind.show(value as NonNullable<unknown>);
}
