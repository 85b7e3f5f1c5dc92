import { dashboard, heat, lines, row, table } from './build.ts';

const ON = 'camera=~"$camera", worker=~"$worker"';
const quantile = (q: number) =>
  `histogram_quantile(${q}, sum by (stage, le) (rate(peregrine_stage_duration_seconds_bucket{${ON}}[$__rate_interval])))`;
const rate = (what: string) => `sum by (stage) (rate(peregrine_stage_duration_seconds_${what}{${ON}}[$__rate_interval]))`;
const mean = `${rate('sum')} / (${rate('count')} > 0)`;

// In the order of a frame's journey: the stages of proto/src/stage.rs.
const journey: [title: string, job: string, stages: [name: string, about: string][]][] = [
  [
    'Producer',
    'producer',
    [
      ['capture', 'Waiting for the source to have the next frame: the frame interval, for a live camera.'],
      ['decode', 'Packet to picture.'],
      ['hold', "Held in the decoder for the frames that are shown before it (B-frames), for the camera's thread, or for Redis to have answered the last frame."],
      ['resize', 'Source size to analysis size.'],
      ['credit', 'A file waits for the stream to have room: long where the processors are the bottleneck, 0 for live cameras.'],
      ['publish', 'Writing the frame into its stream.'],
    ],
  ],
  [
    'Processor',
    'processor',
    [
      ['queue', 'Lying in the stream until a processor takes it.'],
      ['read', "From the reader's wake-up to the decoded header."],
      ['wait', 'Waiting for a batch or for a worker thread.'],
      ['preprocess', "I420 to the model's letterboxed planar input."],
      ['infer', 'The model.'],
      ['postprocess', "The model's output to boxes, and non-maximum suppression."],
      ['track', 'Boxes to tracks.'],
      ['speed', 'Tracks to speeds.'],
      ['zones', 'Tracks to zones and regions.'],
      ['commit', 'Result, checkpoint and progress written in one script.'],
    ],
  ],
  [
    'Gateway and browsers',
    'gateway',
    [
      ['relay', 'From the commit seen by the gateway to the bytes written to the client.'],
      ['deliver', 'From there to decoded in the browser, as browsers report it.'],
      ['paint', 'From there to painted, as browsers report it.'],
    ],
  ],
];

export const stages = dashboard('stages', 'Stages', 'Where do the milliseconds go?', [
  lines('Where the milliseconds go', [[`${mean.replaceAll(ON, `stage!="capture", ${ON}`)}`, '{{stage}}']], {
    about:
      'Mean time of a frame in each stage, one upon the other: together its way from capture to screen. Capture is left out: it is the wait for the next frame.',
    unit: 's',
    stack: true,
    width: 14,
    height: 13,
  }),
  table(
    'Every stage, now',
    ['stage'],
    [
      ['Frames', rate('count'), { unit: 'fps', decimals: 1 }],
      ['Mean', mean, { unit: 's' }],
      ['p50', quantile(0.5), { unit: 's' }],
      ['p95', quantile(0.95), { unit: 's' }],
      ['p99', quantile(0.99), { unit: 's' }],
    ],
    { about: 'Percentiles are estimated from the buckets of docs/metrics.md.', sortBy: 'Mean', width: 10, height: 13 },
  ),
  lines('Median of each stage', [[quantile(0.5), '{{stage}}']], {
    about: 'Half of the frames took longer. Logarithmic: a stage of 50 microseconds and one of 50 milliseconds are both to be seen.',
    unit: 's',
    log: true,
  }),
  lines('95th percentile of each stage', [[quantile(0.95), '{{stage}}']], {
    about: 'One frame in twenty took longer. A stage whose p95 leaves its median behind is being disturbed.',
    unit: 's',
    log: true,
  }),

  row('The model'),
  heat('Frames in a batch', `peregrine_batch_frames_bucket{worker=~"$worker"}`, {
    about: 'Frames in one call of the model, by worker. Batches form where frames of several cameras wait.',
    width: 8,
    height: 7,
  }),
  lines(
    'Calls of the model',
    [
      ['sum by (worker) (rate(peregrine_batch_frames_count{worker=~"$worker"}[$__rate_interval]))', '{{worker}} calls'],
      ['sum by (worker) (rate(peregrine_batch_frames_sum{worker=~"$worker"}[$__rate_interval]))', '{{worker}} frames'],
    ],
    { about: 'Calls per second, and the frames in them.', unit: 'cps', width: 8, height: 7 },
  ),
  table(
    'Models',
    ['worker', 'model', 'head', 'provider'],
    [
      ['Batch limit', 'max by (worker) (peregrine_batch_limit_frames{worker=~"$worker"})'],
      ['Batch wait', 'max by (worker) (peregrine_batch_wait_seconds{worker=~"$worker"})', { unit: 's' }],
      ['Loaded', 'max by (worker, model, head, provider) (peregrine_model_info{worker=~"$worker"})', { unit: 'bool_yes_no' }],
    ],
    { about: 'Which model runs where, and on which execution provider of ONNX Runtime.', width: 8, height: 7 },
  ),

  ...journey.flatMap(([title, job, stages]) => [
    row(title),
    ...stages.map(([stage, about]) =>
      heat(stage, `peregrine_stage_duration_seconds_bucket{stage="${stage}", job="${job}", ${ON}}`, { about, unit: 's', width: 8, height: 7 }),
    ),
  ]),
]);
