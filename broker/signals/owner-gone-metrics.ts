/** What operators watch. Above zero: somebody should take an agent over. */
import { Gauge, type Registry } from 'prom-client';

export const createOwnerGauge = (registry: Registry): Gauge =>
  new Gauge({
    name: 'writ_agents_owner_gone',
    help: 'Agents whose owner the identity provider signalled to be gone.',
    registers: [registry],
  });
