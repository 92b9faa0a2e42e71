/** What a picture shows, as plain data; `src/cli/figures.ts` draws it. Ours and the paper's are told apart by `role`. */

export interface PlotPoint {
  readonly x: number;
  readonly y: number;
  /** Ends of the interval of `y`. */
  readonly low?: number;
  readonly high?: number;
}

export interface PlotSeries {
  readonly name: string;
  /** Ours is drawn in color, solid and filled; a reference (the paper's or its theory's) in grey, dashed and hollow. */
  readonly role: 'ours' | 'reference';
  /** Sorted by x. */
  readonly points: readonly PlotPoint[];
  /** Series of one color belong together. @default ours the first color, a reference grey */
  readonly color?: number;
  /** Points alone, where a line of ours would hide the reference below it. @default false */
  readonly dotsOnly?: boolean;
}

export interface Axis {
  readonly label: string;
  /** @default 'linear' */
  readonly scale?: 'linear' | 'log';
  /** How ticks are written. @default 'number' */
  readonly format?: 'number' | 'percent';
  /** Ends. @default those of the data */
  readonly domain?: readonly [number, number];
  /** Where ticks stand. @default chosen by the drawing */
  readonly ticks?: readonly number[];
}

export interface Panel {
  readonly title: string;
  readonly series: readonly PlotSeries[];
  /** @default the picture's */
  readonly y?: Axis;
  readonly x?: Axis;
}

/** Small plots side by side, ours and the paper's in each. */
export interface PanelsPicture {
  readonly kind: 'panels';
  readonly title: string;
  readonly subtitle: string;
  readonly columns: number;
  readonly x: Axis;
  readonly y: Axis;
  readonly panels: readonly Panel[];
  /** Names of ours and of the reference in the key. */
  readonly key: { readonly ours: string; readonly reference?: string };
  /** Series that stand in every panel in the same color are named once, in the key. @default false */
  readonly sharedColors?: boolean;
}

export interface RangeRow {
  readonly label: string;
  readonly ours?: { readonly value: number; readonly low: number; readonly high: number };
  readonly reference?: { readonly value: number; readonly low: number; readonly high: number };
}

/** Values on one axis with their intervals, ours above the paper's in each row. */
export interface RangesPicture {
  readonly kind: 'ranges';
  readonly title: string;
  readonly subtitle: string;
  readonly x: Axis;
  readonly groups: readonly { readonly title: string; readonly rows: readonly RangeRow[] }[];
  readonly key: { readonly ours: string; readonly reference?: string };
}

export interface XY {
  readonly x: number;
  readonly y: number;
}

/** Figure 1: curves before and after adaptation, with ours and the paper's errors. */
export interface AdaptationPicture {
  readonly kind: 'adaptation';
  readonly title: string;
  readonly subtitle: string;
  readonly steps: number;
  readonly panels: readonly {
    readonly title: string;
    readonly truth: readonly XY[];
    readonly before: readonly XY[];
    readonly after: readonly XY[];
    readonly support: readonly XY[];
    readonly mseBefore: number;
    readonly mseAfter: number;
    readonly paper: { readonly before: number; readonly after: number };
  }[];
}

/** Figure 2: curves in a plane, paths towards them, and named places. */
export interface PlanePicture {
  readonly kind: 'plane';
  readonly title: string;
  readonly subtitle: string;
  readonly x: readonly [number, number];
  readonly y: readonly [number, number];
  readonly panels: readonly {
    readonly title: string;
    readonly curves: readonly { readonly name: string; readonly points: readonly XY[] }[];
    readonly paths: readonly { readonly name: string; readonly points: readonly XY[] }[];
    readonly places: readonly {
      readonly name: string;
      readonly role: 'ours' | 'reference';
      readonly at: XY;
    }[];
  }[];
}

export type Picture = PanelsPicture | RangesPicture | AdaptationPicture | PlanePicture;
