/** The text of a query before and after the user functions have judged it. */
import type { Judgement } from './generations.ts';

/** A text that is waiting to be judged. */
export interface TextToJudge {
  /** bytes of a text that is over user_function_max_query, which functions never see; 0: functions see the text */
  readonly tooLong: number;
  /** null: functions do not see it, or it has no terminator */
  readonly text: Buffer | null;
}

/** A text that may go to a server. */
export interface Approval extends Judgement {
  /** the rewritten text; null: unchanged */
  readonly query: string | null;
}

/** No functions apply. */
export const UNJUDGED: Approval = { query: null, originGeneration: 0, targetGeneration: 0 };
