import { dashboard, heat, lines, number, row, table } from './build.ts';

const ON = 'camera=~"$camera"';
const BY = 'worker=~"$worker"';
const ledger = (end: string) => `sum by (camera) (camera_end:peregrine_ledger_frames:max{end="${end}", ${ON}})`;
const total = (end: string) => `sum(${ledger(end)})`;

export const streams = dashboard('streams', 'Streams, leases and ledger', 'Where is each frame, and who has which camera?', [
  number('Frames waiting', total('waiting'), { about: 'In the streams of the chosen cameras, now.', decimals: 0, limits: [] }),
  number('Oldest waiting frame', `max(peregrine_backlog_age_seconds{${ON}})`, {
    about: 'The head of the line: how long ago the oldest frame without a result was captured.',
    unit: 's',
    limits: [
      [0.4, 'yellow'],
      [2, 'red'],
    ],
  }),
  number(
    'Unaccounted frames',
    `abs(${total('published')} - ${total('processed')} - ${total('skipped')} - ${total('lost')} - ${total('waiting')})`,
    {
      about:
        'Published without processed, skipped, lost and waiting. The counts are independent; while frames flow they are of slightly different moments.',
      decimals: 0,
      limits: [[100, 'red']],
    },
  ),
  number('Cameras with an owner', `count(group by (camera) (peregrine_backlog_age_seconds{${ON}})) or vector(0)`, {
    about: 'Cameras that a processor has leased.',
    limits: [],
  }),
  number('Takeovers in 15 min', 'sum(increase(peregrine_takeovers_total[15m])) or vector(0)', {
    about: 'Leases that had to be taken from a worker that died or froze.',
    decimals: 0,
    limits: [
      [1, 'yellow'],
      [3, 'red'],
    ],
  }),
  number('Memory of Redis', 'max(instance:redis_memory_used:ratio) or max(0 * redis_memory_used_bytes)', {
    about: 'Of its limit; 0 where it has none. When it is full, live cameras lose frames.',
    unit: 'percentunit',
    limits: [
      [0.7, 'yellow'],
      [0.85, 'red'],
    ],
  }),

  row('Ledger'),
  table(
    'Where the frames of each camera ended',
    ['camera'],
    [
      ['Published', ledger('published')],
      ['Processed', ledger('processed')],
      ['Skipped', ledger('skipped'), { limits: [[1, 'yellow']] }],
      ['Lost', ledger('lost'), { limits: [[1, 'yellow']] }],
      ['Waiting', ledger('waiting')],
    ],
    {
      about: 'From what Redis holds, since the stream began: published = processed + skipped + lost + waiting.',
      links: [{ title: 'Overview of this camera', url: '/d/peregrine-overview?var-camera=${__value.raw}&${__url_time_range}' }],
      width: 12,
    },
  ),
  lines(
    'Where frames end',
    [[`sum by (end) (rate(camera_end:peregrine_ledger_frames:max{end=~"processed|skipped|lost", ${ON}}[1m]))`, '{{end}}']],
    { about: 'Published frames per second, by their end.', unit: 'fps', stack: true },
  ),

  row('Streams'),
  lines('Frames waiting per camera', [[`max by (camera) (peregrine_backlog_frames{${ON}})`, '{{camera}}']], {
    about: 'What lies in the stream. A live camera keeps a short queue and loses the oldest; a file fills its own and waits.',
    decimals: 0,
  }),
  lines('Age of the oldest waiting frame', [[`max by (camera) (peregrine_backlog_age_seconds{${ON}})`, '{{camera}}']], {
    about: 'It rises by a second per second while a camera has no results.',
    unit: 's',
    limits: [[2, 'red']],
  }),
  lines('Checkpoints', [[`max by (camera) (peregrine_checkpoint_bytes{${ON}})`, '{{camera}}']], {
    about: "The tracker's state that each commit writes; below 64 KiB.",
    unit: 'bytes',
  }),
  lines('Commits', [[`sum by (outcome) (rate(peregrine_commits_total{${BY}}[$__rate_interval]))`, '{{outcome}}']], {
    about: 'Fenced: a worker that no longer owns the camera was refused, as it should be. Stale, failed: see docs/operations.md.',
    unit: 'cps',
  }),

  row('Leases'),
  lines('Cameras per worker', [[`sum by (role, worker) (peregrine_leases_held{${BY}})`, '{{role}} {{worker}}']], {
    about: 'Leases that each worker holds. Workers share the cameras evenly within seconds.',
    decimals: 0,
  }),
  lines(
    'Changes of leases',
    [
      [`60 * sum by (role) (rate(peregrine_leases_acquired_total{${BY}}[$__rate_interval]))`, '{{role}} acquired'],
      [`60 * sum by (role, reason) (rate(peregrine_leases_lost_total{${BY}}[$__rate_interval]))`, '{{role}} {{reason}}'],
      [`60 * sum by (role) (rate(peregrine_takeovers_total{${BY}}[$__rate_interval]))`, '{{role}} taken over'],
    ],
    { about: 'Handed over is orderly; fenced and taken over mean that a worker died or froze.', unit: 'cpm' },
  ),
  heat('Duration of takeovers', `peregrine_takeover_duration_seconds_bucket{${BY}}`, {
    about: "From the former owner's last sign of life to its successor's first frame.",
    unit: 's',
  }),
  lines(
    'Help between processors',
    [
      [`sum by (outcome) (rate(peregrine_offloaded_frames_total{${BY}}[$__rate_interval]))`, 'asked for: {{outcome}}'],
      [`sum by (outcome) (rate(peregrine_helped_frames_total{${BY}}[$__rate_interval]))`, 'given: {{outcome}}'],
    ],
    { about: 'Frames of a camera that is too much for its owner, detected by idle ones.', unit: 'fps' },
  ),

  row('Redis'),
  lines(
    'Round trips, p95',
    [
      [
        `histogram_quantile(0.95, sum by (operation, le) (rate(peregrine_redis_round_trip_seconds_bucket{${BY}}[$__rate_interval])))`,
        '{{operation}}',
      ],
    ],
    { about: 'From a command being sent to its answer, as the daemons see it. Reads that wait for frames are left out.', unit: 's', log: true },
  ),
  lines(
    'Errors and lost connections',
    [
      [`60 * sum by (job, kind) (rate(peregrine_redis_errors_total{${BY}}[$__rate_interval]))`, '{{job}}: {{kind}}'],
      [`60 * sum by (job) (rate(peregrine_redis_reconnects_total{${BY}}[$__rate_interval]))`, '{{job}}: connected again'],
    ],
    { about: 'Per minute. No lines: none so far.', unit: 'cpm' },
  ),
  lines(
    'Memory',
    [
      ['redis_memory_used_bytes', 'used'],
      ['redis_memory_max_bytes > 0', 'limit'],
      ['redis_memory_used_rss_bytes', 'resident'],
    ],
    { about: 'Beyond the limit Redis refuses frames; results and leases are still written.', unit: 'bytes' },
  ),
  lines(
    'Traffic',
    [
      ['rate(redis_net_input_bytes_total[$__rate_interval])', 'in'],
      ['rate(redis_net_output_bytes_total[$__rate_interval])', 'out'],
    ],
    { about: 'A frame of 416 x 234 is 146 KB, in once and out once.', unit: 'Bps' },
  ),
  lines('Commands', [['topk(8, sum by (cmd) (rate(redis_commands_total[$__rate_interval])) > 0)', '{{cmd}}']], {
    about: 'The eight most frequent.',
    unit: 'ops',
  }),
  lines(
    'CPU time of commands',
    [['topk(8, sum by (cmd) (rate(redis_commands_duration_seconds_total[$__rate_interval])) > 0)', '{{cmd}}']],
    { about: 'Redis uses one core for all commands: 1 in all is its end.', unit: 'percentunit', stack: true },
  ),
]);
