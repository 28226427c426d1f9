import { channelConformance } from '../conformance.ts';
import { slackHarness } from './slack.test-support.ts';

channelConformance('slack', slackHarness);
