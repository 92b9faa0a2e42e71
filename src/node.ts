/** Anole for Node: native kernels, worker threads, and data sets from files. */

export { load, loadAdapted } from './app/node.ts';
export type { ImageProgress } from './data/decode-images.ts';
export type { DownloadProgress } from './data/download.ts';
export {
  type CountedClass,
  type ImageFolder,
  type ImageFolderOptions,
  imageFolder,
} from './data/image-folder.ts';
export { loadMiniImagenet, type MiniImagenetOptions } from './data/mini-imagenet.ts';
export { encodeNpz } from './data/npz.ts';
export {
  type FetchOmniglotOptions,
  fetchOmniglot,
  loadOmniglot,
  type OmniglotArchive,
  type OmniglotOptions,
  omniglotSplit,
} from './data/omniglot.ts';
export { type Config, defineConfig } from './experiments/config.ts';
export {
  type DurableOptions,
  type DurableRun,
  DurableTraining,
  type Found,
  type Notes,
  readCheckpoint,
  trainDurably,
} from './experiments/durable.ts';
export * from './index.ts';
export { availableProviders, defaultProvider, type NodeRuntimeOptions, nodeRuntime } from './runtime/node.ts';
