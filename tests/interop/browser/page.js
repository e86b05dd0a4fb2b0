// What the page does; the commands and events of ../native_peer.py.
'use strict';
const { Room, RoomEvent, DataPacket_Kind } = LivekitClient;
const room = new Room();
let echoing = false;

const encode = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));
const decode = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
const facts = (participant) => ({
  identity: participant.identity,
  sid: participant.sid,
  name: participant.name || '',
  metadata: participant.metadata || '',
  attributes: { ...participant.attributes },
  tracks: Object.fromEntries([...participant.trackPublications].map(([sid, publication]) => [sid, publication.trackName])),
});
const argument = (value) => {
  if (value === null || value === undefined) return null;
  if (['number', 'string', 'boolean'].includes(typeof value)) return value;
  if (Array.isArray(value)) return value.map(argument);
  if (value.identity !== undefined && value.trackPublications) return facts(value);
  if (Object.getPrototypeOf(value) === Object.prototype) return JSON.parse(JSON.stringify(value));
  return { sid: value.trackSid || value.sid || null, name: value.trackName || value.constructor.name };
};

const told = {
  participant_connected: RoomEvent.ParticipantConnected,
  participant_disconnected: RoomEvent.ParticipantDisconnected,
  participant_active: RoomEvent.ParticipantActive,
  participant_name_changed: RoomEvent.ParticipantNameChanged,
  participant_metadata_changed: RoomEvent.ParticipantMetadataChanged,
  participant_attributes_changed: RoomEvent.ParticipantAttributesChanged,
  track_published: RoomEvent.TrackPublished,
  track_unpublished: RoomEvent.TrackUnpublished,
  track_subscribed: RoomEvent.TrackSubscribed,
  track_unsubscribed: RoomEvent.TrackUnsubscribed,
  track_muted: RoomEvent.TrackMuted,
  track_unmuted: RoomEvent.TrackUnmuted,
  room_metadata_changed: RoomEvent.RoomMetadataChanged,
  reconnecting: RoomEvent.Reconnecting,
  reconnected: RoomEvent.Reconnected,
  disconnected: RoomEvent.Disconnected,
  connection_state_changed: RoomEvent.ConnectionStateChanged,
};
for (const [name, event] of Object.entries(told)) {
  room.on(event, (...args) => window.tell({ event: name, args: args.map(argument) }));
}
room.on(RoomEvent.DataReceived, (data, participant, kind, topic) => {
  const reliable = kind === DataPacket_Kind.RELIABLE;
  if (echoing && participant) {
    room.localParticipant.publishData(data, { reliable, topic, destinationIdentities: [participant.identity] });
    return;
  }
  const identity = participant ? participant.identity : null;
  window.tell({ event: 'data_received', data: encode(data), reliable, topic: topic || '', identity });
});

room.on(RoomEvent.ChatMessage, (message, participant) => {
  if (participant !== room.localParticipant) {
    window.tell({ event: 'chat', message, identity: participant ? participant.identity : null });
  }
});
room.on(RoomEvent.SipDTMFReceived, (dtmf, participant) => window.tell(
  { event: 'key', code: dtmf.code, digit: dtmf.digit, identity: participant ? participant.identity : null }));
room.on(RoomEvent.TranscriptionReceived, (segments, participant, publication) => window.tell(
  { event: 'transcription', segments, identity: participant ? participant.identity : null,
    track: publication ? publication.trackSid : null }));

// From `listen` on, tell of the first picture of each track and of each change of its size.
let listening = false;
const watch = (track) => {
  if (track.kind !== 'video') return;
  const element = track.attach();
  element.muted = true;
  document.body.append(element);
  const tell = () => {
    if (element.videoWidth) {
      window.tell({ event: 'seen', sid: track.sid, width: element.videoWidth, height: element.videoHeight });
    }
  };
  element.addEventListener('resize', tell);
  tell();
};
room.on(RoomEvent.TrackSubscribed, (track) => { if (listening) watch(track); });
const find = (sid) => [...room.remoteParticipants.values()]
  .map((participant) => participant.trackPublications.get(sid)).find((publication) => publication);

const sha = async (data) => new Uint8Array(await crypto.subtle.digest('SHA-256', data));
const hex = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
// The bytes of `pattern` in ../native_peer.py.
const pattern = async (size) => {
  const data = new Uint8Array(Math.ceil(size / 32) * 32);
  for (let number = 0; number * 32 < size; number += 1) {
    data.set(await sha(new TextEncoder().encode(String(number))), number * 32);
  }
  return data.subarray(0, size);
};
let dataTrack = null;
const follow = async (track) => {
  const { name, sid } = track.info;
  window.tell({ event: 'data_track', name, sid, identity: track.publisherIdentity });
  const reader = track.subscribe({ bufferSize: 64 }).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const stamp = value.userTimestamp === undefined ? null : Number(value.userTimestamp);
    window.tell({ event: 'frame', name, size: value.payload.length, sha: hex(await sha(value.payload)), stamp });
  }
  window.tell({ event: 'data_track_ended', name });
};
const drain = async (reader, identity) => {
  window.tell({ event: 'stream_opened', identity });
  const found = [];
  let error = null;
  try {
    for await (const piece of reader) found.push(typeof piece === 'string' ? new TextEncoder().encode(piece) : piece);
  } catch (failure) {
    error = String(failure);
  }
  const data = new Uint8Array(await new Blob(found).arrayBuffer());
  const { id, mimeType, ...rest } = reader.info;
  const info = JSON.parse(JSON.stringify({ stream_id: id, mime_type: mimeType, ...rest }));
  window.tell({ event: 'stream', identity, info, size: data.length, pieces: found.length, sha: hex(await sha(data)), error });
};

const who = () => ({
  local: facts(room.localParticipant),
  remote: [...room.remoteParticipants.values()].map(facts),
  room: { name: room.name, metadata: room.metadata || '' },
});

window.commands = {
  who,
  async join({ url, token, auto_subscribe = true }) {
    await room.connect(url, token, { autoSubscribe: auto_subscribe });
    return who();
  },
  send: ({ data, reliable = true, topic = '', to = [] }) => room.localParticipant.publishData(
    decode(data), { reliable, topic, destinationIdentities: to }),
  async send_many({ count, size, reliable = true, topic = '' }) {
    for (let number = 0; number < count; number += 1) {
      const payload = new Uint8Array(size).fill(0xa5);
      new DataView(payload.buffer).setUint32(0, number);
      await room.localParticipant.publishData(payload, { reliable, topic });
    }
  },
  echo: ({ on = true }) => { echoing = on; },
  set_name: ({ name }) => room.localParticipant.setName(name),
  set_metadata: ({ metadata }) => room.localParticipant.setMetadata(metadata),
  set_attributes: ({ attributes }) => room.localParticipant.setAttributes(attributes),
  async publish_audio() {
    const publication = await room.localParticipant.setMicrophoneEnabled(true);
    return { sid: publication.trackSid };
  },
  async publish_video() {
    const publication = await room.localParticipant.setCameraEnabled(
      true, { resolution: { width: 640, height: 480, frameRate: 15 } },
      { simulcast: true, videoCodec: 'vp8', videoSimulcastLayers: [
        new LivekitClient.VideoPreset(320, 240, 120000, 15)] });
    return { sid: publication.trackSid };
  },
  async publish_tone({ hz, peak }) {
    const context = new AudioContext({ sampleRate: 48000 });
    await context.resume();
    const [source, gain, target] = [context.createOscillator(), context.createGain(), context.createMediaStreamDestination()];
    source.frequency.value = hz;
    gain.gain.value = peak / 32768;
    source.connect(gain).connect(target);
    source.start();
    const [track] = target.stream.getAudioTracks();
    const publication = await room.localParticipant.publishTrack(track, { source: 'microphone', dtx: false });
    return { sid: publication.trackSid };
  },
  async publish_colour({ rgb, codec = 'vp8' }) {
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [320, 240];
    const paint = canvas.getContext('2d');
    let number = 0;
    setInterval(() => { // a corner changes, so that there is something to send
      paint.fillStyle = `rgb(${rgb})`;
      paint.fillRect(0, 0, 320, 240);
      paint.fillStyle = number % 2 ? 'black' : 'white';
      paint.fillRect(0, 0, 8, 8);
      number += 1;
    }, 66);
    const [track] = canvas.captureStream(15).getVideoTracks();
    const publication = await room.localParticipant.publishTrack(
      track, { source: 'camera', simulcast: false, videoCodec: codec });
    return { sid: publication.trackSid };
  },
  async measure_sound({ sid }) {
    const { track } = find(sid);
    const element = track.attach(); // Chrome decodes nothing that no element plays
    element.muted = true;
    const context = new AudioContext({ sampleRate: 48000 });
    await context.resume();
    const analyser = context.createAnalyser();
    analyser.fftSize = 32768;
    context.createMediaStreamSource(new MediaStream([track.mediaStreamTrack])).connect(analyser);
    await new Promise((done) => { setTimeout(done, 1500); });
    const samples = new Float32Array(analyser.fftSize);
    analyser.getFloatTimeDomainData(samples);
    let [crossings, peak] = [0, 0];
    for (let at = 1; at < samples.length; at += 1) {
      if ((samples[at - 1] < 0) !== (samples[at] < 0)) crossings += 1;
      peak = Math.max(peak, Math.abs(samples[at]));
    }
    return { hz: crossings / 2 / (samples.length / 48000), peak: peak * 32768 };
  },
  async measure_colour({ sid }) {
    const element = find(sid).track.attach();
    element.muted = true;
    document.body.append(element);
    await element.play();
    while (!element.videoWidth) await new Promise((done) => { setTimeout(done, 50); });
    await new Promise((done) => { setTimeout(done, 500); });
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [element.videoWidth, element.videoHeight];
    const paint = canvas.getContext('2d');
    paint.drawImage(element, 0, 0);
    return { rgb: [...paint.getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data].slice(0, 3) };
  },
  mute({ sid, muted = true }) {
    const publication = room.localParticipant.trackPublications.get(sid);
    return muted ? publication.mute() : publication.unmute();
  },
  listen: () => { listening = true; },
  set_video_quality: ({ sid, quality }) => find(sid).setVideoQuality(quality),
  follow_data_tracks() {
    room.on(RoomEvent.DataTrackPublished, (track) => follow(track));
    room.on(RoomEvent.DataTrackUnpublished, (sid) => window.tell({ event: 'data_track_unpublished', sid }));
  },
  async publish_data_track({ name }) {
    dataTrack = await room.localParticipant.publishDataTrack({ name });
    return { sid: dataTrack.info.sid };
  },
  async push_frames({ sizes }) {
    for (let number = 0; number < sizes.length; number += 1) {
      await dataTrack.tryPush({ payload: await pattern(sizes[number]), userTimestamp: BigInt(number + 1) });
      await new Promise((done) => setTimeout(done, 100));
    }
  },
  unpublish_data_track: () => dataTrack.unpublish(),
  hear_streams({ topic }) {
    room.registerTextStreamHandler(topic, (reader, { identity }) => drain(reader, identity));
    room.registerByteStreamHandler(topic, (reader, { identity }) => drain(reader, identity));
  },
  send_text: ({ text, topic, attributes, to }) => room.localParticipant.sendText(
    text, { topic, attributes, destinationIdentities: to || [] }),
  async stream_text({ parts, topic, reason = '' }) {
    const writer = await room.localParticipant.streamText({ topic });
    for (const part of parts) await writer.write(part);
    if (reason !== null) await writer.close();
  },
  async send_bytes({ size, topic, name, chunk = 0 }) {
    const data = await pattern(size);
    const writer = await room.localParticipant.streamBytes({ name, topic, totalSize: size });
    for (let start = 0; start < size; start += chunk || size) {
      await writer.write(data.subarray(start, start + (chunk || size)));
    }
    await writer.close();
  },
  async chat({ text }) { return room.localParticipant.sendChatMessage(text); },
  async edit({ entry, text }) { return room.localParticipant.editChatMessage(text, entry); },
  press: ({ code, digit }) => room.localParticipant.publishDtmf(code, digit),
  async serve() {
    const methods = {
      echo: async (data) => data.payload,
      count: async (data) => String([...data.payload].length),
      caller: async (data) => `${data.callerIdentity} ${data.responseTimeout / 1000}`,
      refuse: async (data) => { throw new LivekitClient.RpcError(4711, 'no tea', data.payload); },
      break: async () => { throw new Error('out of order'); },
      sleep: () => new Promise(() => {}),
    };
    for (const [name, method] of Object.entries(methods)) room.registerRpcMethod(name, method);
  },
  async call({ to, method, payload, response_timeout: timeout }) {
    try {
      const answer = await room.localParticipant.performRpc({
        destinationIdentity: to, method, payload, ...(timeout ? { responseTimeout: timeout * 1000 } : {}) });
      return { answer };
    } catch (error) {
      if (error.code === undefined) throw error;
      return { code: error.code, message: error.message, data: error.data || '' };
    }
  },
  leave: () => room.disconnect(),
};
