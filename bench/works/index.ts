/** All works, in the order they are measured. */
import type { Work } from '../harness.ts';
import { appWorks } from './app.ts';
import { commandWorks } from './command.ts';
import { metaWorks } from './meta.ts';
import { peakWork } from './peak.ts';
import { stepWorks } from './steps.ts';

export const works: readonly Work[] = [peakWork, ...stepWorks, ...metaWorks, ...appWorks, ...commandWorks];
