function camera = read_session(folder, name)
% READ_SESSION  Read one camera of a recorded session, in MATLAB or GNU Octave.
%
%   camera = read_session('recordings/2026-11-24_10-00-00', 'cam1')
%
%   camera.names      names of the keypoints, cell array (1 x K)
%   camera.xys        keypoints (N x K x 3): x and y in px, score 0 to 1
%   camera.results    struct with one column (N x 1, int64) per field of the ledger, and the crop
%                     (N x 4, int32): left, top, width, height in px
%   camera.frames     struct with one column (M x 1, int64) per field of the frames file
%   camera.events     cell array of structs: what happened, oldest first
%
% Written from docs/sessions.md alone; needs no toolbox. Times are int64 nanoseconds. Checksums are
% not looked at: run `rtface session verify` first.
  about = jsondecode(fileread(fullfile(folder, 'session.json')));
  camera.names = about.cameras.(name).meta.keypoints';
  results = read_records(fullfile(folder, [name '.results.rec']));
  k = numel(camera.names);
  flat = reshape(results.keypoints, 3, k, []);    % the last index runs fastest in the file
  camera.xys = permute(flat, [3 2 1]);
  camera.results = rmfield(results, 'keypoints');
  camera.frames = read_records(fullfile(folder, [name '.frames.rec']));
  camera.events = read_events(fullfile(folder, 'events.log'));
end

function columns = read_records(path)
% Every column of a file of records; only whole records are read.
  file = fopen(path, 'r', 'ieee-le');
  if file < 0
    error('read_session: cannot open %s', path);
  end
  closing = onCleanup(@() fclose(file));
  magic = fread(file, 8, '*uint8')';
  if ~isequal(magic, uint8(['RTFACE' 13 10]))
    error('read_session: %s is not a file of records', path);
  end
  n_text = fread(file, 2, 'uint32');
  told = jsondecode(fread(file, n_text(1), '*char')');
  fseek(file, 0, 'eof');
  n_bytes = ftell(file) - 16384;
  sizes = struct('x_i8', 8, 'x_i4', 4, 'x_f8', 8, 'x_f4', 4);
  types = struct('x_i8', 'int64', 'x_i4', 'int32', 'x_f8', 'double', 'x_f4', 'single');
  list = told.columns;
  record = 4;                                     % the CRC-32 at the end of each record
  for i = 1:numel(list)
    record = record + prod([1; list{i}{3}(:)]) * sizes.(['x_' list{i}{2}(2:3)]);
  end
  n = floor(n_bytes / record);
  fseek(file, 16384, 'bof');
  raw = fread(file, [record, n], '*uint8');
  at = 0;
  for i = 1:numel(list)
    key = ['x_' list{i}{2}(2:3)];
    width = prod([1; list{i}{3}(:)]) * sizes.(key);
    bytes = raw(at + (1:width), :);
    values = typecast(bytes(:), types.(key));
    columns.(list{i}{1}) = reshape(values, [], n)';
    at = at + width;
  end
  if isfield(columns, 'keypoints')
    columns.keypoints = columns.keypoints';
  end
end

function events = read_events(path)
% Eight hex digits of CRC-32, a space, JSON; a line that is cut short is left out.
  events = {};
  lines = strsplit(fileread(path), char(10));
  for i = 1:numel(lines)
    if numel(lines{i}) > 9 && lines{i}(9) == ' ' && lines{i}(end) == '}'
      events{end + 1} = jsondecode(lines{i}(10:end)); %#ok<AGROW>
    end
  end
end
