function [meta, messages] = receive(n, port)
%RECEIVE  Keypoints from "rtface bridge jsonl", in MATLAB or GNU Octave.
%   [meta, messages] = receive(n) returns the next n messages as a cell array of structs, and what
%   describes them. Each struct has the fields of docs/wire.md and xys, one row per keypoint:
%   x and y in px of the full frame, and the score. meta.keypoints names the rows.
%   receive(n, port) connects to another port than 5589.
%
%   Start "rtface demo" in one terminal and "rtface bridge jsonl" in a second one.
%   Octave needs its package instrument-control.
%
%   Tested with GNU Octave 7.3; not run in MATLAB. It uses what MATLAB has since R2020b, without
%   toolboxes: tcpclient, read, jsondecode.

  if nargin < 2
    port = 5589;
  end
  if exist('OCTAVE_VERSION', 'builtin')
    pkg load instrument-control
  end
  connection = tcpclient('127.0.0.1', port);
  meta = struct();
  messages = cell(1, n);
  received = 0;
  missed = 0;
  waiting = '';
  while received < n
    [lines, waiting] = next_lines(connection, waiting);
    for i = 1:numel(lines)
      message = jsondecode(lines{i});
      if strncmp(message.topic, 'meta.', 5)
        meta = message;  % the first line, and the first of every further run
      elseif received < n
        message.xys = table_of(message.keypoints);
        received = received + 1;
        messages{received} = message;
        missed = message.missed;
      end
    end
  end
  if missed > 0
    fprintf('%d messages were dropped: read more often\n', missed);
  end
end

function [lines, waiting] = next_lines(connection, waiting)
%NEXT_LINES  Wait for whole lines. Octave's readline would lose what comes after the first.
  newline_ = char(10);
  started = tic;
  while ~any(waiting == newline_)
    if connection.NumBytesAvailable > 0
      bytes = read(connection, connection.NumBytesAvailable, 'uint8');
      waiting = [waiting, char(reshape(bytes, 1, []))];
    elseif toc(started) > 10
      error('no message for 10 s: has the run ended?');
    else
      pause(0.002);
    end
  end
  ends = find(waiting == newline_);
  starts = [1, ends(1:end-1) + 1];
  lines = arrayfun(@(a, b) waiting(a:b-1), starts, ends, 'UniformOutput', false);
  waiting = waiting(ends(end)+1:end);
end

function xys = table_of(keypoints)
%TABLE_OF  One row per keypoint, in the order of meta.keypoints; null becomes NaN.
  rows = struct2cell(keypoints);
  xys = nan(numel(rows), 3);
  for k = 1:numel(rows)
    row = rows{k};
    if iscell(row)  % an array of nulls alone
      row(cellfun(@isempty, row)) = {NaN};
      row = cell2mat(row);
    end
    xys(k, :) = reshape(row, 1, []);
  end
end
