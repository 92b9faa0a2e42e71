/** Numbers, times, tables and names as text for people. */
import type { Settings } from '../experiments/settings.ts';
import type { Evaluation } from '../meta/evaluate.ts';

/** `97.6%` for 0.976. */
export function percent(value: number): string {
  return `${(100 * value).toFixed(1)}%`;
}

/** Three significant digits or whole numbers: 0.0990, 12.3, 1234; 5.17e+21 from a million on. */
export function significant(value: number): string {
  if (!Number.isFinite(value)) return 'not finite';
  if (Math.abs(value) >= 1e6) return value.toExponential(2);
  return Math.abs(value) < 100 ? value.toPrecision(3) : value.toFixed(0);
}

/** `1 task`, `1,000 tasks`. */
export function counted(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? '' : 's'}`;
}

/** `97.6% ± 0.4%  (95% interval over 100 tasks)`; a single one has no interval. */
export function withInterval(
  { mean, ci95 }: Pick<Evaluation, 'mean' | 'ci95'>,
  { task, evalTasks }: Pick<Settings, 'task' | 'evalTasks'>,
): string {
  const isSine = task === 'sine';
  if (!Number.isFinite(mean)) return 'not finite: the steps diverge; lower the inner learning rate';
  const shown = isSine ? significant : percent;
  const tasks = isSine ? counted(evalTasks, 'fresh wave') : `${counted(evalTasks, 'task')} of unseen classes`;
  if (evalTasks === 1) return `${shown(mean)}  (${tasks})`;
  return `${shown(mean)} ± ${shown(ci95)}  (95% interval over ${tasks})`;
}

/** `25,000`; a fraction is rounded to a whole. */
export function count(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

/** `31.2 s`, `4 min 05 s` or `2 h 03 min`. */
export function duration(seconds: number): string {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const two = (value: number) => String(Math.floor(value)).padStart(2, '0');
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${two(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${two((seconds % 3600) / 60)} min`;
}

/** `0:07`, `12:34` or `1:02:03`: short and of steady width, for a line that is drawn again and again. */
export function clock(seconds: number): string {
  const whole = Math.round(seconds);
  const two = (value: number) => String(value).padStart(2, '0');
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  return `${hours > 0 ? `${hours}:${two(minutes)}` : minutes}:${two(whole % 60)}`;
}

/** Labels in one column, what they say in the next; further lines of an entry stand under its first. */
export function aligned(rows: readonly (readonly [label: string, ...lines: string[]])[]): string {
  const width = Math.max(...rows.map(([label]) => label.length));
  return rows
    .flatMap(([label, ...lines]) =>
      lines.map((line, i) => `  ${(i === 0 ? label : '').padEnd(width)}  ${line}`.trimEnd()),
    )
    .join('\n');
}

const taskNames = {
  omniglot: 'Omniglot',
  glyphs: 'Glyphs',
  'mini-imagenet': 'Mini-ImageNet',
  images: 'Images',
};

/** `Omniglot, 5-way 5-shot` or `Sine waves, 10 points`. */
export function describeTask({ task, ways, shots, transductive }: Settings): string {
  if (task === 'sine') return `Sine waves, ${counted(shots, 'point')}`;
  return `${taskNames[task]}, ${ways}-way ${shots}-shot${transductive ? ', transductive' : ''}`;
}

/** As the paper writes them. */
export const algorithmNames = { reptile: 'Reptile', fomaml: 'FOMAML', maml: 'MAML', joint: 'Joint training' };
