#pragma once
// Transcripts: text in, text out. In a file <folder>/<name>.txt a line that is not blank, not a comment (#)
// and does not begin with "= " is a command; the "= " lines below it are what it must answer. With the
// environment variable CAIRN_UPDATE_TRANSCRIPTS=1 the files are rewritten with what was answered, to be
// reviewed as a change of the source.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

namespace cairn::support {

/// Names of the transcripts in `folder`, sorted. For ValuesIn: a folder without any is an empty
/// instantiation, which GoogleTest reports as a failure.
inline std::vector<std::string> TranscriptNames(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".txt") names.push_back(entry.path().stem());
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// The transcript with every command's answer put in again. An Interpreter has `Run(line)`, which returns the
/// lines that answer one command; each transcript gets a new one.
template <class Interpreter>
std::string ReplayTranscript(const std::string& transcript) {
  Interpreter interpreter;
  std::istringstream in(transcript);
  std::string out;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("= ")) continue;
    out += line + "\n";
    if (line.empty() || line[0] == '#') continue;
    for (const std::string& answer : interpreter.Run(line)) out += "= " + answer + "\n";
  }
  return out;
}

/// A test's body: expects the answers of <folder>/<name>.txt, or rewrites them.
template <class Interpreter>
void CheckTranscript(const std::filesystem::path& folder, const std::string& name) {
  const std::filesystem::path path = folder / (name + ".txt");
  std::ifstream file(path);
  const std::string expected{std::istreambuf_iterator<char>(file), {}};
  ASSERT_FALSE(expected.empty()) << path;
  const std::string actual = ReplayTranscript<Interpreter>(expected);
  if (std::getenv("CAIRN_UPDATE_TRANSCRIPTS") != nullptr) {
    std::ofstream(path) << actual;
  } else {
    EXPECT_EQ(expected, actual);
  }
}

}  // namespace cairn::support
