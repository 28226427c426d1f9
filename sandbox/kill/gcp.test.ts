/**
 * @deep
 */
import { everyStepOf, killTests } from './kill.test-support.ts';

killTests('postgres', everyStepOf('gcp'));
