import { dashboard, heat, lines, number, row, table } from './build.ts';

const ON = '{camera=~"$camera"}';

export const overview = dashboard('overview', 'Overview', 'Is everything analysed, and in time? Start here.', [
  number('Cameras with results', `count(camera:peregrine_frames_processed:rate1m${ON} > 0) or vector(0)`, {
    about: 'Cameras of which a frame was analysed within the last minute.',
    limits: [],
  }),
  number('Frames analysed', `sum(camera:peregrine_frames_processed:rate1m${ON})`, {
    about: 'Frames with a committed result, of all chosen cameras together.',
    unit: 'fps',
    decimals: 1,
    limits: [],
  }),
  number('Age of results, p95', `max(camera:peregrine_result_age_seconds:p95_1m${ON})`, {
    about: 'From capture to committed result, of the camera that is worst off. Below 0.1 s is good; beyond 0.4 s people notice.',
    unit: 's',
    limits: [
      [0.4, 'yellow'],
      [0.8, 'red'],
    ],
  }),
  number(
    'Frames missed',
    `sum(camera:peregrine_frames_missed:ratio_rate1m${ON} * camera:peregrine_frames_captured:rate1m${ON}) / sum(camera:peregrine_frames_captured:rate1m${ON})`,
    {
      about: 'Share of the captured frames that got no analysis. What was left out on purpose does not count.',
      unit: 'percentunit',
      decimals: 1,
      limits: [
        [0.01, 'yellow'],
        [0.1, 'red'],
      ],
    },
  ),
  number('Processors', 'count(up{job="processor"} == 1) or vector(0)', { about: 'Processors that answer Prometheus.', limits: [] }),
  number('Alerts', 'count(ALERTS{alertstate="firing"}) or vector(0)', {
    about: 'Alerts that fire now. Prometheus lists them under /alerts, docs/operations.md says what to do about each.',
    limits: [[1, 'red']],
  }),

  row('Cameras'),
  lines('Frames analysed per camera', [[`camera:peregrine_frames_processed:rate1m${ON}`, '{{camera}}']], {
    about: 'Results per second. Lower than captured: frames are missed, or left out on purpose.',
    unit: 'fps',
  }),
  lines('Frames captured per camera', [[`camera:peregrine_frames_captured:rate1m${ON}`, '{{camera}}']], {
    about: 'What the sources give, before anything is left out.',
    unit: 'fps',
  }),
  lines(
    'Age of results per camera',
    [
      [`camera:peregrine_result_age_seconds:p95_1m${ON}`, '{{camera}} p95'],
      [`camera:peregrine_result_age_seconds:p50_1m${ON}`, '{{camera}} p50'],
    ],
    {
      about: 'From capture to committed result. The dashed lines: people notice, the alert fires. A gap: no result.',
      unit: 's',
      limits: [
        [0.4, 'yellow'],
        [0.8, 'red'],
      ],
    },
  ),
  heat('Age of results', `peregrine_result_age_seconds_bucket${ON}`, {
    about: 'All frames of the chosen cameras, by how old their result was. Two bands are two kinds of cameras, or a queue.',
    unit: 's',
  }),
  lines('Frames missed', [[`sum by (end, reason) (camera_reason:peregrine_frames_missed:rate1m${ON})`, '{{end}}: {{reason}}']], {
    about:
      'Dropped: never came into the stream. Lost: left it unread. Skipped: taken from it, but not analysed. No lines: none was missed so far.',
    unit: 'fps',
    stack: true,
  }),
  lines('Real-time factor', [[`camera:peregrine_realtime_factor:rate1m${ON}`, '{{camera}}']], {
    about: 'Seconds of video analysed per second: 1 keeps up with a live camera, less falls behind, more is a file read faster than it plays.',
    decimals: 2,
  }),
  table(
    'Every camera',
    ['camera', 'worker'],
    [
      ['Backlog', `max by (camera, worker) (peregrine_backlog_frames${ON})`],
      ['Captured', `camera:peregrine_frames_captured:rate1m${ON}`, { unit: 'fps', decimals: 1 }],
      ['Analysed', `camera:peregrine_frames_processed:rate1m${ON}`, { unit: 'fps', decimals: 1 }],
      ['Age p50', `camera:peregrine_result_age_seconds:p50_1m${ON}`, { unit: 's' }],
      [
        'Age p95',
        `camera:peregrine_result_age_seconds:p95_1m${ON}`,
        {
          unit: 's',
          limits: [
            [0.4, 'yellow'],
            [0.8, 'red'],
          ],
        },
      ],
      [
        'Missed',
        `camera:peregrine_frames_missed:ratio_rate1m${ON}`,
        {
          unit: 'percentunit',
          decimals: 1,
          limits: [
            [0.01, 'yellow'],
            [0.1, 'red'],
          ],
        },
      ],
      ['Tracks', `max by (camera) (peregrine_tracks${ON})`],
      ['Detections', `sum by (camera) (rate(peregrine_detections_total${ON}[$__rate_interval]))`, { unit: 'cps', decimals: 1 }],
      ['Source', `max by (camera) (peregrine_source_up${ON})`, { unit: 'bool_on_off' }],
    ],
    {
      about: 'A camera and the processor that owns it. Click a camera to see where its time goes.',
      links: [{ title: 'Stages of this camera', url: '/d/peregrine-stages?var-camera=${__value.raw}&${__url_time_range}' }],
    },
  ),

  row('Workers'),
  table(
    'Every worker',
    ['worker', 'job', 'version'],
    [
      ['Cameras', 'sum by (job, worker) (peregrine_leases_held)'],
      ['CPU', 'sum by (job, worker) (rate(peregrine_process_cpu_seconds_total[$__rate_interval]))', { unit: 'suffix: cores', decimals: 2 }],
      ['Memory', 'sum by (job, worker) (peregrine_process_resident_memory_bytes)', { unit: 'bytes' }],
      ['Restarts in 15 min', 'worker:peregrine_restarts:count15m', { limits: [[1, 'yellow'], [3, 'red']] }],
      ['Runs', 'max by (job, worker, version) (label_replace(peregrine_build_info, "job", "$1", "daemon", "(.*)"))', { unit: 'bool_yes_no' }],
    ],
    {
      about: 'Producers, processors and gateways that Prometheus found, with the release that each runs.',
      links: [{ title: 'Machine', url: '/d/peregrine-machine?var-worker=${__value.raw}&${__url_time_range}' }],
    },
  ),
]);
