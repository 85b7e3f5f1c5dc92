import { dashboard, lines, number, row } from './build.ts';

const BY = 'worker=~"$worker"';

export const machine = dashboard('machine', 'Machine', 'Is there enough of everything, and who uses it?', [
  number('CPU busy', 'max(instance:node_cpu_busy:ratio_rate1m)', {
    about: 'Of the busiest machine, over a minute.',
    unit: 'percentunit',
    limits: [
      [0.8, 'yellow'],
      [0.95, 'red'],
    ],
  }),
  number('Memory used', '1 - min(instance:node_memory_available:ratio)', {
    about: 'Of the machine with the least that is free.',
    unit: 'percentunit',
    limits: [
      [0.8, 'yellow'],
      [0.9, 'red'],
    ],
  }),
  number('Disk used', '1 - min(instance_mountpoint:node_filesystem_available:ratio)', {
    about: 'Of the fullest disk.',
    unit: 'percentunit',
    limits: [
      [0.8, 'yellow'],
      [0.9, 'red'],
    ],
  }),
  number('CPU time per frame', 'peregrine:cpu_seconds_per_frame:ratio_rate1m', {
    about: 'Of all daemons together, without Redis, for each analysed frame. ./dev bench compares it with the floor.',
    unit: 's',
    limits: [],
  }),
  number('Waiting for a core', `max(rate(peregrine_process_cpu_wait_seconds_total{${BY}}[$__rate_interval]))`, {
    about: 'Seconds per second that threads of the worst process were ready to run and had no core. Much of it with idle cores: a limit of its container.',
    unit: 'percentunit',
    limits: [
      [0.2, 'yellow'],
      [1, 'red'],
    ],
  }),
  number('Idle cores', 'max(rate(peregrine_machine_idle_seconds_total[$__rate_interval]))', {
    about: 'What could still be used, as the daemons see it.',
    decimals: 1,
    limits: [],
  }),

  row('Processes'),
  lines(
    'CPU',
    [[`sum by (job, worker) (rate(peregrine_process_cpu_seconds_total{${BY}}[$__rate_interval]))`, '{{job}} {{worker}}']],
    { about: 'Cores that each process uses, user and system.', unit: 'suffix: cores', stack: true },
  ),
  lines(
    'Waiting for a core',
    [[`sum by (job, worker) (rate(peregrine_process_cpu_wait_seconds_total{${BY}}[$__rate_interval]))`, '{{job}} {{worker}}']],
    { about: 'Threads that were ready and had to wait, in cores. This is how starvation looks.', unit: 'suffix: cores', stack: true },
  ),
  lines('Memory', [[`sum by (job, worker) (peregrine_process_resident_memory_bytes{${BY}})`, '{{job}} {{worker}}']], {
    about: 'Resident.',
    unit: 'bytes',
    stack: true,
  }),
  lines(
    'Threads and cores',
    [
      [`sum by (worker) (peregrine_process_threads{${BY}})`, '{{worker}} threads'],
      [`max by (worker) (peregrine_process_cores{${BY}})`, '{{worker}} cores'],
    ],
    { about: 'Threads of each process, and the cores that it may use by its affinity and the limits of its container.', decimals: 0 },
  ),

  row('Machines'),
  lines('CPU', [['sum by (mode) (rate(node_cpu_seconds_total{mode!="idle"}[$__rate_interval]))', '{{mode}}']], {
    about: 'Cores that are busy, by what with. Steal: the host gave them to others.',
    unit: 'suffix: cores',
    stack: true,
  }),
  lines(
    'Cores',
    [
      ['max(peregrine_machine_cores)', 'there are'],
      ['max(rate(peregrine_machine_idle_seconds_total[$__rate_interval]))', 'idle'],
      ['max(node_load1)', 'load'],
    ],
    { about: 'Load: threads that run or want to.', decimals: 1 },
  ),
  lines(
    'Memory',
    [
      ['max by (instance) (node_memory_MemTotal_bytes)', 'there is'],
      ['max by (instance) (node_memory_MemTotal_bytes - node_memory_MemAvailable_bytes)', 'used'],
    ],
    { about: 'Used: what cannot be given to somebody else.', unit: 'bytes' },
  ),
  lines('Disks', [['1 - instance_mountpoint:node_filesystem_available:ratio', '{{mountpoint}}']], {
    about: 'How full they are. The alert fires at 90%.',
    unit: 'percentunit',
    max: 1,
    limits: [[0.9, 'red']],
  }),
  lines(
    'Disk traffic',
    [
      ['sum by (device) (rate(node_disk_read_bytes_total[$__rate_interval]))', '{{device}} read'],
      ['sum by (device) (rate(node_disk_written_bytes_total[$__rate_interval]))', '{{device}} written'],
    ],
    { about: "Redis' append-only file is most of what Peregrine writes.", unit: 'Bps' },
  ),
  lines(
    'Network',
    [
      ['sum by (device) (rate(node_network_receive_bytes_total{device!="lo"}[$__rate_interval]))', '{{device}} in'],
      ['sum by (device) (rate(node_network_transmit_bytes_total{device!="lo"}[$__rate_interval]))', '{{device}} out'],
    ],
    { about: 'Without what stays on the machine.', unit: 'Bps' },
  ),
]);
