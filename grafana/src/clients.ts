import { dashboard, heat, lines, number, row } from './build.ts';

const ON = 'camera=~"$camera"';
const BY = 'worker=~"$worker"';
const sent = `sum(rate(peregrine_messages_sent_total{${BY}}[$__rate_interval]))`;
const dropped = `sum(rate(peregrine_messages_dropped_total{${BY}}[$__rate_interval]))`;
const p95 = (stage: string) =>
  `histogram_quantile(0.95, sum by (le) (rate(peregrine_stage_duration_seconds_bucket{stage="${stage}", ${ON}}[$__rate_interval])))`;

export const clients = dashboard('clients', 'Gateway clients', 'What do people and programs get, and how fast?', [
  number('Clients', `sum(peregrine_clients{${BY}})`, { about: 'Connected over WebSocket, now.', limits: [] }),
  number('Messages sent', sent, { about: 'To all clients together: results, pictures and steps.', unit: 'mps', decimals: 1, limits: [] }),
  number('Messages dropped', `${dropped} / (${sent} + ${dropped} > 0) or vector(0)`, {
    about: 'Share that clients asked for and did not read in time. A slow client costs nobody else.',
    unit: 'percentunit',
    decimals: 1,
    limits: [
      [0.01, 'yellow'],
      [0.05, 'red'],
    ],
  }),
  number('Relay, p95', p95('relay'), {
    about: 'From the commit seen by the gateway to the bytes written to the client.',
    unit: 's',
    limits: [
      [0.02, 'yellow'],
      [0.1, 'red'],
    ],
  }),
  number(
    'On the screen, p95',
    `histogram_quantile(0.95, sum by (le) (rate(peregrine_paint_age_seconds_bucket{${ON}}[$__rate_interval])))`,
    {
      about: 'From capture to painted, as browsers report it.',
      unit: 's',
      limits: [
        [0.4, 'yellow'],
        [1, 'red'],
      ],
    },
  ),
  number('HTTP errors', `sum(rate(peregrine_http_requests_total{status=~"5..", ${BY}}[$__rate_interval])) or vector(0)`, {
    about: 'Requests per second that were answered with 5xx.',
    unit: 'reqps',
    limits: [[0.01, 'red']],
  }),

  row('WebSocket'),
  lines('Clients', [[`sum by (worker) (peregrine_clients{${BY}})`, '{{worker}}']], { about: 'Connected to each gateway.', decimals: 0 }),
  lines('Disconnects', [[`60 * sum by (reason) (rate(peregrine_disconnects_total{${BY}}[$__rate_interval]))`, '{{reason}}']], {
    about: 'Per minute, by the reason. No lines: nobody left so far.',
    unit: 'cpm',
  }),
  lines('Messages sent', [[`sum by (kind) (rate(peregrine_messages_sent_total{${BY}}[$__rate_interval]))`, '{{kind}}']], {
    about: 'Handed to clients.',
    unit: 'mps',
    stack: true,
  }),
  lines('Messages dropped', [[`sum by (kind) (rate(peregrine_messages_dropped_total{${BY}}[$__rate_interval]))`, '{{kind}}']], {
    about: 'Their client was too slow. It was told.',
    unit: 'mps',
    stack: true,
  }),
  heat('Age on the screen', `peregrine_paint_age_seconds_bucket{${ON}}`, {
    about: 'From capture to painted, as browsers report it, on the clock of the gateway.',
    unit: 's',
  }),
  lines(
    'The last stages, p95',
    ['relay', 'deliver', 'paint'].map((stage) => [p95(stage), stage]),
    { about: 'Relay is measured by the gateway, deliver and paint by the browsers.', unit: 's' },
  ),

  row('HTTP, pictures, and what clients bring'),
  lines('Requests', [[`sum by (route) (rate(peregrine_http_requests_total{${BY}}[$__rate_interval]))`, '{{route}}']], {
    about: 'Answered, by route.',
    unit: 'reqps',
  }),
  lines('Answers', [[`sum by (status) (rate(peregrine_http_requests_total{${BY}}[$__rate_interval]))`, '{{status}}']], {
    about: 'By status: 401 and 403 are tokens, 429 limits, 5xx us.',
    unit: 'reqps',
    stack: true,
  }),
  lines(
    'Frames and steps brought',
    [
      [`sum by (camera, outcome) (rate(peregrine_frames_ingested_total{${ON}}[$__rate_interval]))`, '{{camera}} {{outcome}}'],
      [`sum(rate(peregrine_steps_ingested_total{${BY}}[$__rate_interval]))`, 'steps'],
    ],
    { about: 'Frames of cameras whose source is a client, and steps of simulators. Skipped: the pipeline was busy.', unit: 'cps' },
  ),
  lines(
    'Previews',
    [
      [`sum by (camera) (rate(peregrine_previews_encoded_total{${ON}}[$__rate_interval]))`, '{{camera}}'],
      [`sum(rate(peregrine_previews_dropped_total{${ON}}[$__rate_interval]))`, 'dropped'],
    ],
    { about: 'Pictures encoded for people who watch; nobody watching: none.', unit: 'fps' },
  ),
]);
