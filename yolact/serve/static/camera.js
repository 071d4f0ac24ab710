// The camera of this device: frames, one at a time.

// Start it and return a function that stops it. Throws an Error of one sentence where there is none, or the user does
// not allow it.
export async function openCamera(video) {
  if (!navigator.mediaDevices?.getUserMedia)
    throw new Error("The browser lends a camera only to pages at 127.0.0.1 or localhost, or over https.");
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: "environment", width: { ideal: 1280 }, height: { ideal: 720 } },
      audio: false,
    });
  } catch (error) {
    throw new Error(
      error.name === "NotAllowedError"
        ? "The camera may not be used; allow it for this page in the browser's settings."
        : "There is no camera, or another program is using it.",
    );
  }
  video.srcObject = stream;
  await video.play();
  return () => stream.getTracks().forEach((track) => track.stop());
}

// Return what the camera sees now: a canvas to show, and the same as a JPEG to send.
export async function grabFrame(video) {
  const frame = document.createElement("canvas");
  [frame.width, frame.height] = [video.videoWidth, video.videoHeight];
  frame.getContext("2d").drawImage(video, 0, 0);
  const file = await new Promise((resolve) => frame.toBlob(resolve, "image/jpeg", 0.9));
  return { frame, file };
}
