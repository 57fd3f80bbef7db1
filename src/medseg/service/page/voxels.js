/* What voxels tell: a window worth showing, where the mask is, and whether smoothing would hide it. */

const SOFT_TISSUE_HU = [-160, 240];
const SAMPLED = 200_000;

/** Darkest and brightest value worth showing: soft tissue of CT, else percentiles of what is not dark. */
export function windowOf({ img, hdr }) {
  const slope = hdr.scl_slope || 1;
  const step = Math.max(1, Math.floor(img.length / SAMPLED));
  const values = new Float64Array(Math.ceil(img.length / step));
  for (let n = 0; n < values.length; n += 1) values[n] = img[n * step] * slope + hdr.scl_inter;
  values.sort();
  const [least, most] = [values[0], values.at(-1)];
  if (least < -900 && most > 300) return SOFT_TISSUE_HU;
  const seen = values.subarray(values.findIndex((value) => value > least));
  if (least === most) return [least - 1, least + 1];
  const at = (part) => seen[Math.round(part * (seen.length - 1))];
  return [at(0.01), Math.max(at(0.995), at(0.01) + 1e-6)];
}

/** Whether a mask smoothed by a box of 27 voxels still shows half of each structure, on samples. */
export function smoothKeeps(numbers, [, columns, rows], count) {
  const [seen, kept] = [new Uint32Array(count + 1), new Uint32Array(count + 1)];
  const inside = (n) => {
    let near = 0;
    for (let k = -1; k <= 1; k += 1) for (let j = -1; j <= 1; j += 1) for (let i = -1; i <= 1; i += 1) {
      if (numbers[n + i + columns * (j + rows * k)] > 0) near += 1;
    }
    return near > 27 / 2;
  };
  for (let n = 0; n < numbers.length; n += 1) {
    const number = numbers[n];
    if (number === 0 || seen[number] >= SAMPLED) continue;
    seen[number] += 1;
    if (inside(n)) kept[number] += 1;
  }
  return seen.every((total, number) => kept[number] * 2 >= total);
}

/** Mean position of what is marked, in RAS millimetres; null where nothing is. */
export function middleOf({ img, hdr }) {
  const [, columns, rows] = hdr.dims;
  const sum = [0, 0, 0];
  let count = 0;
  for (let n = 0; n < img.length; n += 1) {
    if (img[n] === 0) continue;
    sum[0] += n % columns;
    sum[1] += Math.floor(n / columns) % rows;
    sum[2] += Math.floor(n / (columns * rows));
    count += 1;
  }
  if (count === 0) return null;
  const voxel = [...sum.map((total) => total / count), 1];
  return [0, 1, 2].map((row) => voxel.reduce((mm, at, n) => mm + hdr.affine[row][n] * at, 0));
}
