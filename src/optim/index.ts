/** Optimizers and schedules. */
export {
  type AdamOptions,
  adam,
  composeStates,
  freshState,
  type Optimizer,
  type OptimizerState,
  type OptimizerStep,
  sgd,
} from './optimizer.ts';
export { linearSchedule, type Schedule } from './schedule.ts';
