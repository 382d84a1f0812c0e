/** What a picture shows, before anything has a place: boxes within boxes, arrows, words. Charts and the actor diagram both become one of these. */

/** How an arrow is drawn: the five ways a transition is taken, the entry into a box, and the two kinds of talk between actors. */
export type ArrowKind = 'event' | 'done' | 'error' | 'delay' | 'always' | 'initial' | 'message' | 'call';

export type BoxKind =
  | 'state'
  | 'compound'
  | 'parallel'
  | 'region'
  | 'final'
  | 'initial'
  | 'anywhere'
  | 'elsewhere'
  | 'actor'
  | 'outside';

export interface Box {
  /** Unique in the drawing; a state's own id where the box is a state. */
  readonly id: string;
  readonly kind: BoxKind;
  readonly title: string;
  /** What is invoked here, one pill each. */
  readonly pills: readonly string[];
  /** Shown when the pointer rests on it. */
  readonly tooltip: string;
  readonly boxes: readonly Box[];
}

/** One line of an arrow's label; what must also be true stands in brackets, in italics. */
export interface Words {
  readonly text: string;
  readonly isGuard: boolean;
}

export interface Arrow {
  readonly id: string;
  readonly kind: ArrowKind;
  readonly from: string;
  readonly to: string;
  readonly words: readonly Words[];
  readonly tooltip: string;
  /** Ids of the chart's transitions that this arrow stands for. */
  readonly transitions: readonly string[];
}

export interface Drawing {
  readonly name: string;
  /** One sentence: what is to be seen. */
  readonly title: string;
  readonly boxes: readonly Box[];
  readonly arrows: readonly Arrow[];
  readonly direction: 'DOWN' | 'RIGHT';
  /** Drawn small: no words at the arrows and no legend. */
  readonly isSmall: boolean;
}
