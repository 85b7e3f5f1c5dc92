// The mock gateway's REST side, from its own hand: cameras and their configuration, calibration, workers, the ledger.

/**
 * Answers `/api/…`. `cameras` is the mock's own list; `added` and `changed` tell it that there is a new one, or another
 * configuration. `models` are those announced. Tests may set `refusing` (a status for everything), `workers` and `ledger`;
 * `calibrations` are the bodies of all that were asked for.
 */
export function startRest({ cameras, models, added, changed }) {
  const configs = new Map(cameras.map((of) => [of.id, { version: 1, config: firstConfig(of) }]));
  const rest = {
    refusing: undefined,
    calibrations: [],
    workers: [
      {
        worker: "producer-1",
        role: "producer",
        seen_ms_ago: 310,
        cameras: cameras.map(({ id }) => id),
        unfit: {},
      },
      {
        worker: "worker-1",
        role: "processor",
        seen_ms_ago: 640,
        cameras: cameras.filter(({ health }) => health === "live").map(({ id }) => id),
        unfit: {},
      },
    ],
    notices: [],
    ledger: cameras.map(({ id }, i) => ({
      camera: id,
      published: 18_240 + 37 * i,
      processed: 17_930 + 37 * i,
      skipped: [{ reason: "too_old", count: 286 }],
      lost: [{ reason: "queue_full", count: 21 }],
      waiting: 3,
      balanced: true,
      unpublished: i === 2 ? [{ reason: "not_wanted", count: 9_120 }] : [],
    })),
    config: (id) => configs.get(id)?.config,
    /** Somebody else changes a camera. */
    changeElsewhere(id, part) {
      put(id, { ...configs.get(id).config, ...part });
    },
    answer,
  };

  function put(id, config) {
    configs.set(id, { version: (configs.get(id)?.version ?? 0) + 1, config });
    const of = cameras.find((each) => each.id === id);
    of.name = config.name;
    of.region = config.analysis.region;
    of.calibrated = config.calibration !== undefined;
    changed();
  }

  async function answer(request, response) {
    const { pathname } = new URL(request.url, "http://localhost");
    const [, , kind, id, ...part] = pathname.split("/").map(decodeURIComponent);
    const say = (status, body, headers = {}) =>
      response
        .writeHead(status, { "content-type": "application/json", ...headers })
        .end(body === undefined ? "" : JSON.stringify(body));
    const refuse = (status, detail) => say(status, { title: "Refused", status, detail });
    if (rest.refusing !== undefined)
      return refuse(rest.refusing, "this needs a token with the role admin: ask for one");
    const body = await bodyOf(request);
    const known = configs.get(id);
    switch (`${request.method} ${kind}`) {
      case "GET workers":
        return say(200, { workers: rest.workers, notices: rest.notices });
      case "GET models":
        return say(200, { models }, { "cache-control": "no-cache", etag: '"1"' });
      case "GET ledger":
        return say(200, { cameras: rest.ledger });
      case "POST calibration":
        rest.calibrations.push(body);
        try {
          return say(200, tried(body));
        } catch (error) {
          return refuse(422, error.message);
        }
      case "POST cameras":
        if (configs.has(body.id)) return refuse(409, `there is a camera \`${body.id}\` already: choose another id`);
        if (/^gopher:/.test(body.source.uri)) return refuse(422, "`gopher:` is no scheme known here: use rtsp://");
        cameras.push(added(body.id));
        put(body.id, body);
        return say(201, body);
    }
    if (kind !== "cameras" || known === undefined) return refuse(404, `there is no camera \`${id}\``);
    if (part.join("/") === "results/gaps")
      return say(200, { gaps: cameras.find((of) => of.id === id).history.gaps(id) });
    switch (request.method) {
      case "GET":
        return say(200, { state: null, config: known.config }, { etag: `"${known.version}"` });
      case "PUT": {
        const wanted = request.headers["if-match"];
        if (wanted !== undefined && wanted !== `"${known.version}"`) return refuse(412, "it was changed meanwhile");
        body.source.uri = masked(body.source.uri);
        put(id, body);
        return say(200, { state: null, config: body }, { etag: `"${known.version + 1}"` });
      }
      case "DELETE":
        configs.delete(id);
        cameras.splice(
          cameras.findIndex((each) => each.id === id),
          1,
        );
        changed();
        return say(204);
      default:
        return refuse(405, "use GET, PUT or DELETE");
    }
  }
  return rest;
}

function firstConfig({ id, name, region }) {
  return {
    id,
    name,
    source: {
      uri: `rtsp://***@${id}.local/main`,
      pace: "realtime",
      loop: false,
      every: 1,
    },
    analysis: {
      classes: [],
      confidence: 0.35,
      nms_iou: 0.5,
      region,
      track: { max_tracks: 256 },
    },
  };
}

/** The gateway's mask knows more. */
function masked(uri) {
  return uri.replace(/:\/\/.*@/, "://***@").replace(/(loginpas)=[^&]*/, "$1=***");
}

async function bodyOf(request) {
  let text = "";
  for await (const part of request) text += part;
  return text === "" ? undefined : JSON.parse(text);
}

/** The homography from pixels to metres with the least squared error of its equations; eight unknowns, the ninth is 1. */
function homography(points) {
  const [[x0, y0], ...others] = points.map(({ ground }) => ground);
  const sides = others.flatMap(([ax, ay]) => others.map(([bx, by]) => (ax - x0) * (by - y0) - (ay - y0) * (bx - x0)));
  if (sides.every((side) => side === 0)) throw new Error("the points lie on one line: spread them over the ground");
  const scale = 1000;
  const rows = points.flatMap(({ image, ground: [x, y] }) => {
    const [u, v] = image.map((pixel) => pixel / scale);
    return [
      [u, v, 1, 0, 0, 0, -u * x, -v * x, x],
      [0, 0, 0, u, v, 1, -u * y, -v * y, y],
    ];
  });
  const normal = Array.from({ length: 8 }, (_, i) =>
    Array.from({ length: 9 }, (_, j) => rows.reduce((sum, row) => sum + row[i] * row[j], 0)),
  );
  const h = [...solve(normal), 1].map((value, i) => (i % 3 === 2 ? value : value / scale));
  const matrix = [h.slice(0, 3), h.slice(3, 6), h.slice(6)];
  const inverse = adjugate(matrix);
  const residuals = points.map(({ image, ground }) => {
    const [x, y, w] = inverse.map((row) => row[0] * ground[0] + row[1] * ground[1] + row[2]);
    return Math.hypot(x / w - image[0], y / w - image[1]);
  });
  const rms = Math.sqrt(residuals.reduce((sum, r) => sum + r * r, 0) / residuals.length);
  return {
    world_from_image: matrix,
    image_from_world: inverse,
    residuals_px: residuals,
    rms_px: rms,
  };
}

/** What a calibration gives and implies. */
function tried({ points, world_from_image: matrix, picture }) {
  const fit = matrix === undefined ? homography(points) : { world_from_image: matrix, image_from_world: adjugate(matrix), residuals_px: [], rms_px: 0 }; // prettier-ignore
  const view = picture === null ? null : viewOf(fit.image_from_world, points?.[0].ground ?? [0, 20], picture);
  const height = view?.camera_height_m;
  const warnings = height >= 1 && height <= 100 ? [] : [`the camera would be ${height?.toFixed(0)} m above the ground: check each length`]; // prettier-ignore
  return { ...fit, view, warnings };
}

/** The mock's own camera has this focal length; with it the rest follows from the ground's axes. */
const FOCAL_PX = 1161;

function viewOf(imageFromWorld, [x, y], { width, height }) {
  const depth = imageFromWorld[2][0] * x + imageFromWorld[2][1] * y + imageFromWorld[2][2];
  const image = imageFromWorld.map((row) => row.map((value) => value / depth));
  const column = (c) => [
    (image[0][c] - (width / 2) * image[2][c]) / FOCAL_PX,
    (image[1][c] - (height / 2) * image[2][c]) / FOCAL_PX,
    image[2][c],
  ];
  const [a, b, origin] = [0, 1, 2].map(column);
  const cross = [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  const scale = Math.sqrt(Math.hypot(...cross));
  const side = Math.sign(dot(cross, origin));
  const up = cross.map((value) => (-side * value) / scale);
  const camera = -dot(up, origin) / scale / scale;
  const tall = [FOCAL_PX * up[0] + (width / 2) * up[2], FOCAL_PX * up[1] + (height / 2) * up[2], up[2]];
  const tilt = Math.asin(-up[2] / scale);
  return {
    camera_height_m: camera,
    tilt_deg: (tilt * 180) / Math.PI,
    angle_deg: (2 * Math.atan(width / 2 / FOCAL_PX) * 180) / Math.PI,
    nearest_m: camera / Math.tan(tilt + Math.atan(height / 2 / FOCAL_PX)),
    farthest_m: null,
    person_px: 100,
    image_from_space: image.map((row, i) => [row[0], row[1], tall[i], row[2]]),
  };
}

const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);

/** Gauss with the largest pivot. */
function solve(rows) {
  for (let i = 0; i < rows.length; i += 1) {
    const pivot = rows.slice(i).reduce((best, row) => (Math.abs(row[i]) > Math.abs(best[i]) ? row : best));
    rows.splice(rows.indexOf(pivot), 1, rows[i]);
    rows[i] = pivot.map((value) => value / pivot[i]);
    rows.forEach((row, j) => {
      if (j !== i) rows[j] = row.map((value, k) => value - row[i] * rows[i][k]);
    });
  }
  return rows.map((row) => row[8]);
}

function adjugate([[a, b, c], [d, e, f], [g, h, i]]) {
  return [
    [e * i - f * h, c * h - b * i, b * f - c * e],
    [f * g - d * i, a * i - c * g, c * d - a * f],
    [d * h - e * g, b * g - a * h, a * e - b * d],
  ];
}
