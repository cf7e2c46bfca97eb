/** The image's HEALTHCHECK: exits with 0 if the proxy of this container answers /livez, and with 1 and the reason if not. */
import { request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';

/** An option's value as the proxy reads it from these variables. Values from files are not looked at. */
const option = (name) => process.env[`PGSWITCHYARD_${name.toUpperCase()}`] ?? process.env[name];

const port = Number(option('http_listen_port'));
if (!(port > 0)) {
  console.log('http_listen_port is 0: nothing to ask');
  process.exit(0);
}
const first = (option('http_listen_addr') ?? '').split(',')[0].trim();
const host = ['', '*', '0.0.0.0'].includes(first) ? '127.0.0.1' : first === '::' ? '::1' : first;
const request = option('http_tls_sslmode') === 'require' ? requestHttps : requestHttp;

const asked = request({ host, port, path: '/livez', timeout: 4000, rejectUnauthorized: false }, (answer) => {
  answer.resume();
  console.log(`/livez answers ${answer.statusCode}`);
  process.exitCode = answer.statusCode === 200 ? 0 : 1;
  answer.on('end', () => process.exit());
});
asked.on('timeout', () => asked.destroy(new Error('no answer in 4 s')));
asked.on('error', (error) => {
  console.log(`/livez: ${error.message}`);
  process.exit(1);
});
asked.end();
