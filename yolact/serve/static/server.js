// What the server is asked. Throws an Error of one sentence where it refuses or does not answer.

export async function askModel() {
  return (await request("api/model")).json();
}

// Send a picture file and return its instances; `withPicture` also asks for the picture as the model saw it.
export async function askInstances(file, withPicture, signal) {
  const start = performance.now();
  const headers = { "Content-Type": "application/octet-stream" };
  const path = `api/instances${withPicture ? "?picture" : ""}`;
  const answer = await (await request(path, { method: "POST", body: file, headers, signal })).json();
  return { ...answer, roundTrip: performance.now() - start };
}

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer; look whether it is still running.");
  }
  if (response.ok) return response;
  const content = await response.json().catch(() => ({}));
  const error = new Error(content.error ?? `The server answered with the error ${response.status}.`);
  error.busy = response.status === 503;
  throw error;
}
