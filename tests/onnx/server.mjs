// An Open Inference Protocol V2 server over ONNX Runtime: a second runtime,
// unlike ours, for the tests. node server.mjs <folder of models>
// A model is <folder>/<name>/<version>.onnx; with <version>.manifest beside it the
// server answers only for that package.
import { createRequire } from 'node:module'
import { createServer } from 'node:http'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const ort = createRequire(join(process.env.ONNX_MODULES, 'x.js'))('onnxruntime-node')
const folder = process.argv[2]
const sessions = new Map()

async function session(name, version) {
  if (!/^[a-z0-9][a-z0-9._-]*$/.test(name) || !/^[0-9]+$/.test(version)) return null
  const path = join(folder, name, version + '.onnx')
  if (!existsSync(path)) return null
  if (!sessions.has(path)) {
    const manifest = join(folder, name, version + '.manifest')
    sessions.set(path, {
      run: await ort.InferenceSession.create(path, { intraOpNumThreads: 1 }),
      manifest: existsSync(manifest) ? readFileSync(manifest, 'utf8').trim() : '',
    })
  }
  return sessions.get(path)
}

function answer(res, status, body, headers = {}) {
  res.writeHead(status, { 'Content-Type': 'application/json', ...headers })
  res.end(JSON.stringify(body))
}

async function serve(req, res, body) {
  if (/^\/v2\/health\/(live|ready)$/.test(req.url)) return answer(res, 200, { ready: true })
  if (req.url === '/v2') return answer(res, 200, { name: 'onnxruntime', version: '1.30.0', extensions: [] })
  const at = /^\/v2\/models\/([^/]+)\/versions\/([^/]+)(\/ready|\/infer)?$/.exec(req.url)
  const model = at && (await session(at[1], at[2]))
  const wanted = req.headers['x-fabric-manifest']
  if (!model || (wanted && model.manifest && wanted !== model.manifest)) return answer(res, 404, { error: 'no such model' })
  if (at[3] === '/ready') return answer(res, 200, { name: at[1], ready: true })
  if (!at[3]) return answer(res, 200, { name: at[1], versions: [at[2]], platform: 'onnxruntime_onnx', inputs: [], outputs: [] })
  const asked = JSON.parse(body)
  const [rows] = asked.inputs
  const input = new ort.Tensor('float32', Float32Array.from(rows.data.flat(Infinity)), rows.shape)
  const out = await model.run.run({ [model.run.inputNames[0]]: input })
  answer(res, 200, {
    model_name: at[1], model_version: at[2], id: asked.id,
    outputs: [
      { name: 'probabilities', datatype: 'FP32', shape: out.probabilities.dims, data: Array.from(out.probabilities.data) },
      { name: 'class', datatype: 'INT64', shape: out.class.dims, data: Array.from(out.class.data, Number) },
    ],
  }, model.manifest ? { 'X-Fabric-Manifest': model.manifest } : {})
}

const server = createServer((req, res) => {
  const parts = []
  req.on('data', (part) => parts.push(part))
  req.on('end', () => serve(req, res, Buffer.concat(parts).toString()).catch((e) => answer(res, 400, { error: String(e.message) })))
})
server.listen(0, '127.0.0.1', () => console.log('http://127.0.0.1:' + server.address().port))
