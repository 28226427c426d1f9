/** Asks Slack who the bot is (auth.test): nobody is told anything. */
import type { Finding } from '../../broker/core/vocabulary.ts';
import { deliveryError, type SlackAccess, slackClient } from './client.ts';

export async function diagnoseSlack(
  settings: SlackAccess & { SLACK_TEAM_ID: string },
  signal: AbortSignal,
): Promise<Finding[]> {
  const knows = 'Slack knows the bot by its token';
  const here = `the bot is in the workspace ${settings.SLACK_TEAM_ID}`;
  try {
    const { team_id: team } = await slackClient(settings, signal).auth.test();
    return [
      { what: knows, state: 'holds' },
      team === settings.SLACK_TEAM_ID
        ? { what: here, state: 'holds' }
        : {
            what: here,
            state: 'fails',
            found: `it is in ${/^[TE][A-Z0-9]{2,20}$/.test(String(team)) ? team : 'another one'}`,
            fix: 'Set SLACK_TEAM_ID to the workspace that the app is installed in, or install it in that one.',
          },
    ];
  } catch (error) {
    const fix =
      'Set SLACK_BOT_TOKEN to the bot token of the app as it is installed (OAuth & Permissions), and see that this machine reaches SLACK_API_URL.';
    return [{ what: knows, state: 'fails', found: deliveryError(error).message, fix }];
  }
}
