/** `load` and `loadAdapted`, over whatever environment the app is in. */
import { DataError, didYouMean, OptionError } from '../errors.ts';
import { decodeAdapted } from '../experiments/adapted.ts';
import { decodeWeights } from '../experiments/weights.ts';
import type { Runtime } from '../runtime/runtime.ts';
import { ClassLearner } from './class-learner.ts';
import { Classifier } from './classifier.ts';
import type { Environment } from './environment.ts';
import { Regressor, ValueLearner } from './regression.ts';
import { SharedRuntime } from './shared-runtime.ts';
import { isShipped, type ShippedName, shippedAddress, shippedNames } from './shipped.ts';

/**
 * Where weights come from: the name of shipped ones; the path of a file (Node); an `http(s)` or `file`
 * address; or the bytes themselves.
 */
export type WeightsSource = ShippedName | (string & {}) | URL | Uint8Array | ArrayBuffer;

export interface LoadOptions<T extends 'classes' | 'values' = 'classes' | 'values'> {
  /** What is learned: to tell classes apart, or the values of a function. @default 'classes' */
  readonly targets?: T;
  /**
   * A runtime to use, which stays yours to dispose of. @default one of its own, started at the first `fit` or
   * `predict` and disposed with the last object that uses it
   */
  readonly runtime?: Runtime;
}

/** `load`, of classifiers unless values are asked for. */
export interface Load {
  (source: WeightsSource, options?: LoadOptions<'classes'>): Promise<ClassLearner>;
  (
    source: WeightsSource,
    options: LoadOptions<'values'> & { readonly targets: 'values' },
  ): Promise<ValueLearner>;
}

/** `loadAdapted`, of classifiers unless values are asked for. `L` are the labels you know it has. */
export interface LoadAdapted {
  <L extends string = string>(
    source: WeightsSource,
    options?: LoadOptions<'classes'>,
  ): Promise<Classifier<L>>;
  (
    source: WeightsSource,
    options: LoadOptions<'values'> & { readonly targets: 'values' },
  ): Promise<Regressor>;
}

/** Loads meta-trained weights for `environment`. */
export function loaderFor(environment: Environment): Load {
  const load = async (source: WeightsSource, { targets = 'classes', runtime }: LoadOptions = {}) => {
    const { bytes, name } = await read(source, environment);
    const weights = decodeWeights(bytes, name);
    requireTargets(weights.settings.task === 'sine', targets, name);
    const shared = new SharedRuntime(runtime ?? (() => environment.startRuntime()));
    return targets === 'values'
      ? new ValueLearner(weights, shared)
      : new ClassLearner(weights, environment, shared);
  };
  return load as Load;
}

/** Loads adapted models for `environment`. */
export function adaptedLoaderFor(environment: Environment): LoadAdapted {
  const load = async (source: WeightsSource, { targets = 'classes', runtime }: LoadOptions = {}) => {
    const { bytes, name } = await read(source, environment);
    const adapted = decodeAdapted(bytes, name);
    requireTargets(adapted.settings.task === 'sine', targets, name);
    const shared = new SharedRuntime(runtime ?? (() => environment.startRuntime()));
    return targets === 'values'
      ? new Regressor(adapted, shared)
      : new Classifier(adapted, environment, shared);
  };
  return load as LoadAdapted;
}

/** The bytes, and what messages call them. */
async function read(source: WeightsSource, environment: Environment) {
  if (source instanceof Uint8Array) return { bytes: source, name: 'weights' };
  if (source instanceof ArrayBuffer) return { bytes: new Uint8Array(source), name: 'weights' };
  if (typeof source === 'string' && isShipped(source)) {
    const bytes = await environment.readBytes(shippedAddress(source)).catch((cause) => {
      throw new DataError(
        `load: "${source}" did not come with this package: give a file (${cause.message})`,
        {
          cause,
        },
      );
    });
    return { bytes, name: source };
  }
  const name = String(source);
  const bytes = await environment.readBytes(source).catch((cause) => {
    const hint = didYouMean(name, shippedNames);
    throw hint === '' ? cause : new DataError(`${(cause as Error).message}${hint}`, { cause });
  });
  return { bytes, name };
}

function requireTargets(areValues: boolean, targets: 'classes' | 'values', name: string): void {
  if (targets !== 'classes' && targets !== 'values') {
    throw new OptionError(`load: targets: expected 'classes' or 'values', got ${String(targets)}`);
  }
  if (areValues && targets === 'classes') {
    throw new OptionError(
      `${name}: these weights fit values (a sine wave), which have no classes: in an app, load them with { targets: 'values' }`,
    );
  }
  if (!areValues && targets === 'values') {
    throw new OptionError(`${name}: these weights tell classes apart: load them without targets: 'values'`);
  }
}
