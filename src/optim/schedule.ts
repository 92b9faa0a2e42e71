/** How the outer step changes over training. */

/** The value at iteration i of N. */
export type Schedule = (iteration: number, iterations: number) => number;

/** ε₀·(1 − i/N) + ε_final·(i/N), the paper's annealing (App. A). */
export function linearSchedule(start: number, final: number): Schedule {
  return (iteration, iterations) => {
    const progress = iteration / iterations;
    return start * (1 - progress) + final * progress;
  };
}
