/** Whether a bundle's functions can change state that outlives a call. Decisions are remembered only where they can't. */

export interface Purity {
  /** the functions provably depend on their arguments alone, provided that what they can reach after loading is frozen */
  readonly isPure: boolean;
  /** what is changed, and where: `counter is changed at rules.ts:12`; '': it is pure */
  readonly reason: string;
}

export const NOT_ANALYSED: Purity = { isPure: false, reason: 'it has not been analysed' };

/** Whether a version's decisions may be remembered. `why`: for an operator, on one line. */
export type Remembered = { readonly yes: true } | { readonly yes: false; readonly why: string };
