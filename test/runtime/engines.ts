/** The engines that programs are tested on here. */
import { nativeFault } from '../../src/runtime/native.ts';

const fault = await nativeFault();
if (fault !== undefined) console.log(`tests of native programs are skipped: ${fault}`);

/** Providers: ONNX Runtime's CPU kernels everywhere, machine code of our own where there is a C compiler. */
export const engines: readonly ('cpu' | 'native')[] = fault === undefined ? ['cpu', 'native'] : ['cpu'];

/** For the option `skip` of tests that need a C compiler. */
export const withoutNative: string | false = fault ?? false;
