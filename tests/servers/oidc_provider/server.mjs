// Two issuers of oidc-provider on one port: one at its root, one under a path, each with its own tokens.
// `node server.mjs CONFIG`, where CONFIG is a JSON file that oidc.py writes.

import { appendFileSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'

// Node 20 has no URL.parse.
URL.parse ??= (url, base) => (URL.canParse(url, base) ? new URL(url, base) : null)
const { errors, Provider } = await import('oidc-provider')

const HOST = '127.0.0.1'
const DAY = 86_400 // seconds
const RECORDED = new Set(['token', 'revocation'])
const SCOPES = 'read write'

const config = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const origin = `http://${HOST}:${config.port}`

const wanted = (ctx) => JSON.parse(ctx.oidc.params.authorization_details)

/** What was asked for, enriched as RFC 9396, section 7.1 allows: the answer is not the question. */
const granted = (ctx) => wanted(ctx).map((detail) => ({ ...detail, status: 'accepted' }))

/** RFC 8707 lets the server choose among several resources: ours takes the first. */
function chosenResource(ctx, api, several) {
  if (several) return several[0]
  const audience = ctx.oidc.params.audience ?? ctx.oidc.body?.audience
  return audience ?? (ctx.oidc.params.authorization_details && api)
}

function configuration(issuer) {
  const api = `${issuer}/api`
  const resources = new Set([api, config.elsewhere])
  const seconds = (ctx, token, client) => client.access_token_seconds
  return {
    clients: config.clients,
    clockTolerance: 0,
    expiresWithSession: () => false,
    extraClientMetadata: { properties: ['access_token_seconds', 'rotates'] },
    extraParams: ['audience'],
    findAccount: (ctx, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
    issueRefreshToken: (ctx, client) => client.grantTypeAllowed('refresh_token'),
    pkce: { required: () => true },
    rotateRefreshToken: (ctx) => ctx.oidc.client.rotates,
    scopes: ['openid', 'offline_access', ...SCOPES.split(' ')],
    ttl: { AccessToken: seconds, ClientCredentials: seconds, RefreshToken: DAY },
    features: {
      clientCredentials: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: (ctx, client, several) => chosenResource(ctx, api, several),
        getResourceServerInfo(ctx, resource) {
          if (!resources.has(resource)) throw new errors.InvalidTarget('unknown resource')
          return { scope: SCOPES, accessTokenFormat: 'opaque' }
        },
      },
      richAuthorizationRequests: {
        enabled: true,
        types: {
          payment_initiation: {
            validate(ctx, detail) {
              if (detail.instructedAmount) return
              throw new errors.InvalidAuthorizationDetails('instructedAmount is missing')
            },
          },
        },
        authorizationDetailsForGrantSource: (ctx) => ctx.oidc.params.authorization_details && granted(ctx),
        authorizationDetailsForAccessToken: (ctx, token, source) => (source ? source.rar : granted(ctx)),
      },
    },
  }
}

/** The token of a request to the API while it lives, and is meant for this API or for none in particular. */
async function bearer(ctx, provider) {
  const [scheme, value] = ctx.get('Authorization').split(' ')
  if (scheme.toLowerCase() !== 'bearer') return undefined
  const token = (await provider.AccessToken.find(value)) ?? (await provider.ClientCredentials.find(value))
  return token && [undefined, `${provider.issuer}/api`].includes(token.aud) ? token : undefined
}

/** The protected resource: says whose the token is and what was sent. Its /forget drops that token alone. */
async function serveAPI(ctx, provider) {
  let content = ''
  for await (const chunk of ctx.req.setEncoding('utf8')) content += chunk
  const token = await bearer(ctx, provider)
  if (!token) {
    const fault = ctx.get('Authorization') ? ', error="invalid_token", error_description="unknown or expired"' : ''
    ctx.set('WWW-Authenticate', `Bearer realm="api"${fault}`)
    ctx.status = 401
    ctx.body = { error: 'unauthorized' }
  } else if (ctx.path === '/api/forget') {
    await token.destroy()
    ctx.status = 204
  } else {
    const { accountId, aud, clientId, rar, scope } = token
    ctx.body = {
      sub: accountId ?? null,
      client_id: clientId,
      scope: scope ?? '',
      aud: aud ?? null,
      authorization_details: rar ?? null,
      method: ctx.method,
      content,
    }
  }
}

/** Appends what arrived and what is answered; it is in the file before the answer leaves. */
function record(ctx, issuer) {
  const line = JSON.stringify({
    endpoint: ctx.oidc.route,
    issuer,
    client_id: ctx.oidc.client?.clientId ?? null,
    headers: ctx.req.headers,
    parameters: ctx.oidc.body ?? {},
    status: ctx.status,
    answer: ctx.body || {},
  })
  appendFileSync(config.requests, `${line}\n`)
}

function callback(issuer) {
  const provider = new Provider(issuer, configuration(issuer))
  provider.use(async (ctx, next) => {
    if (['/api/me', '/api/forget'].includes(ctx.path)) return serveAPI(ctx, provider)
    await next()
    if (RECORDED.has(ctx.oidc?.route)) record(ctx, issuer)
  })
  return provider.callback()
}

const root = callback(origin)
const mounted = callback(origin + config.path)

const server = createServer((request, response) => {
  // RFC 8414, section 3.1 puts the path last.
  if (request.url === `/.well-known/oauth-authorization-server${config.path}`) {
    request.url = `${config.path}/.well-known/oauth-authorization-server`
  }
  if (!request.url.startsWith(`${config.path}/`)) return root(request, response)
  request.originalUrl = request.url // where oidc-provider looks for the path that it is mounted under
  request.url = request.url.slice(config.path.length)
  mounted(request, response)
})
server.keepAliveTimeout = 60_000 // milliseconds; a pooled connection is not to end between two tests
server.listen(config.port, HOST, () => console.log(`listening on ${origin}`))
