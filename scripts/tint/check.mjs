// Compiles every text of the kernels by Tint, and runs the fused and the history kernel: `node check.mjs FOLDER`, where
// `src/gpu/tests/front_ends.rs` has written texts, inputs and answers. The adapter is Dawn's, made sure to be SwiftShader.
import fs from 'node:fs';
import path from 'node:path';
import { create, globals } from 'webgpu';

Object.assign(globalThis, globals);
const folder = process.argv[2];
const { texts, runs } = JSON.parse(fs.readFileSync(path.join(folder, 'runs.json'), 'utf8'));
const read = (name) => fs.readFileSync(path.join(folder, `${name}.wgsl`), 'utf8');
const failures = [];
const fail = (name, words) => failures.push(`${name}: ${words}`);

const gpu = create([]);
const adapter = await gpu.requestAdapter();
if (!adapter) throw new Error('Dawn has no adapter');
const { vendor, architecture, description } = adapter.info;
console.log(`adapter: ${[vendor, architecture, description].join(' ')}`);
if (!/swiftshader/i.test(`${vendor} ${architecture} ${description}`)) throw new Error('not SwiftShader');
if (!adapter.features.has('subgroups')) throw new Error('no subgroups');
const device = await adapter.requestDevice({
  requiredFeatures: ['subgroups'],
  requiredLimits: { maxStorageBuffersPerShaderStage: adapter.limits.maxStorageBuffersPerShaderStage },
});

for (const name of texts) {
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ code: read(name) });
  const { messages } = await module.getCompilationInfo();
  const error = await device.popErrorScope();
  for (const m of messages.filter((m) => m.type !== 'info')) fail(name, `${m.type} ${m.lineNum}:${m.linePos} ${m.message}`);
  if (error) fail(name, error.message);
}

// The words of a buffer on the device.
async function wordsOf(source) {
  const target = device.createBuffer({ size: source.size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(source, 0, target, 0, source.size);
  device.queue.submit([encoder.finish()]);
  await target.mapAsync(GPUMapMode.READ);
  return target.getMappedRange().slice(0);
}

let compared = 0;
let worst = 0;
for (const run of runs) {
  const name = `${run.text} (${run.entry_point})`;
  device.pushErrorScope('validation');
  const storage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  const buffers = new Map();
  const entries = [];
  const layout = [];
  for (const { binding, words, uniform, read_only } of run.buffers) {
    const usage = uniform ? GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST : storage;
    const buffer = device.createBuffer({ size: Math.max(4, 4 * words.length), usage });
    device.queue.writeBuffer(buffer, 0, new Uint32Array(words));
    buffers.set(binding, buffer);
    entries.push({ binding, resource: { buffer } });
    const type = uniform ? 'uniform' : read_only ? 'read-only-storage' : 'storage';
    layout.push({ binding, visibility: GPUShaderStage.COMPUTE, buffer: { type } });
  }
  const bindGroupLayout = device.createBindGroupLayout({ entries: layout });
  const pipeline = await device.createComputePipelineAsync({
    layout: device.createPipelineLayout({ bindGroupLayouts: [bindGroupLayout] }),
    compute: {
      module: device.createShaderModule({ code: read(run.text) }),
      entryPoint: run.entry_point,
      constants: run.constants,
    },
  });
  const bindGroup = device.createBindGroup({ layout: bindGroupLayout, entries });
  for (const [number, step] of run.steps.entries()) {
    if (step.losses) device.queue.writeBuffer(buffers.get(run.losses), 0, new Uint32Array(step.losses));
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, bindGroup);
    pass.dispatchWorkgroups(...run.workgroups);
    pass.end();
    device.queue.submit([encoder.finish()]);
    const weights = new Float32Array(await wordsOf(buffers.get(run.weights)));
    const status = new Uint32Array(await wordsOf(buffers.get(run.status)));
    step.status.forEach((word, i) => {
      if (status[i] !== word) fail(name, `step ${number}, status ${i}: ${status[i]}, not ${word}`);
    });
    step.weights.values.forEach((exact, i) => {
      const error = Math.abs(weights[i] - exact);
      compared += 1;
      worst = Math.max(worst, error / step.weights.bounds[i]);
      // NaN is not within any bound.
      if (!(error <= step.weights.bounds[i])) {
        fail(name, `step ${number}, weight ${i}: ${weights[i]}, not ${exact} within ${step.weights.bounds[i]}`);
      }
    });
  }
  const error = await device.popErrorScope();
  if (error) fail(name, error.message);
}

console.log(`${texts.length} texts compiled, ${runs.length} kernels run, ${compared} weights compared, largest error ${worst.toFixed(3)} of its bound`);
for (const failure of failures.slice(0, 20)) console.log(failure);
console.log(failures.length === 0 ? 'all as they should be' : `${failures.length} WRONG`);
// Dawn keeps the process alive otherwise.
process.exit(failures.length === 0 ? 0 : 1);
