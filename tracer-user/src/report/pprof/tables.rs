//! The tables of a profile, in which every text, function, mapping and place stands once.

use super::message::{Function, Line, Location, Mapping};
use crate::capture::MappedFile;
use crate::printable::printable;
use crate::report::FrameReport;
use std::collections::HashMap;

/// Image and first address, which a file has not that is known by its frames only; path, build ID.
type MappingKey = (Option<(u32, u64)>, i64, i64);

/// Tables that fill as samples are made; places are handed out once and never change.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) strings: Vec<String>,
    pub(super) functions: Vec<Function>,
    pub(super) mappings: Vec<Mapping>,
    pub(super) locations: Vec<Location>,
    known_strings: HashMap<String, i64>,
    known_functions: HashMap<Function, u64>,
    known_mappings: HashMap<MappingKey, u64>,
    known_locations: HashMap<Location, u64>,
}

impl Tables {
    pub(super) fn new() -> Self {
        Self {
            strings: vec![String::new()],
            functions: Vec::new(),
            mappings: Vec::new(),
            locations: Vec::new(),
            known_strings: HashMap::from([(String::new(), 0)]),
            known_functions: HashMap::new(),
            known_mappings: HashMap::new(),
            known_locations: HashMap::new(),
        }
    }

    /// Place of a text, without what a terminal would obey: readers print it as it is.
    pub(super) fn text(&mut self, text: &str) -> i64 {
        let text = printable(text);
        if let Some(place) = self.known_strings.get(&text) {
            return *place;
        }
        let place = self.strings.len() as i64;
        self.strings.push(text.clone());
        self.known_strings.insert(text, place);
        place
    }

    /// A line of a frame's function.
    pub(super) fn line(&mut self, frame: &FrameReport) -> Line {
        let name = self.text(&frame.function);
        let filename = frame.file.as_deref().map_or(0, |file| self.text(file));
        let function_id = self.function(name, filename);
        Line { function_id, line: frame.line.map_or(0, i64::from) }
    }

    fn function(&mut self, name: i64, filename: i64) -> u64 {
        let function = Function { id: 0, name, system_name: name, filename };
        let next = self.functions.len() as u64 + 1;
        let id = *self.known_functions.entry(function).or_insert(next);
        if id == next {
            self.functions.push(Function { id, ..function });
        }
        id
    }

    /// A mapping as it was recorded.
    pub(super) fn mapping(&mut self, file: &MappedFile) -> u64 {
        let (filename, build_id) =
            (self.text(&file.path), file.build_id.as_deref().map_or(0, |id| self.text(id)));
        let mapping = Mapping {
            memory_start: file.start_avma,
            memory_limit: file.end_avma,
            file_offset: file.file_offset,
            filename,
            build_id,
            ..Mapping::default()
        };
        self.mapping_of((Some((file.image, file.start_avma)), filename, build_id), mapping)
    }

    /// A file that no recorded mapping has, as if it were mapped at address 0: addresses in it
    /// are offsets then.
    pub(super) fn file(&mut self, path: &str, build_id: Option<&str>, offset: u64) -> u64 {
        let (filename, build_id) =
            (self.text(path), build_id.map_or(0, |build_id| self.text(build_id)));
        let mapping = Mapping { filename, build_id, ..Mapping::default() };
        let id = self.mapping_of((None, filename, build_id), mapping);
        let mapping = &mut self.mappings[id as usize - 1];
        mapping.memory_limit = mapping.memory_limit.max(offset.saturating_add(1));
        id
    }

    fn mapping_of(&mut self, key: MappingKey, mapping: Mapping) -> u64 {
        let next = self.mappings.len() as u64 + 1;
        let id = *self.known_mappings.entry(key).or_insert(next);
        if id == next {
            // Readers look for names themselves where a profile says that it brings none.
            self.mappings.push(Mapping { id, has_functions: true, ..mapping });
        }
        id
    }

    /// A place; what its lines know is noted at its mapping.
    pub(super) fn location(&mut self, mapping_id: u64, address: u64, line: Vec<Line>) -> u64 {
        if let Some(mapping) =
            mapping_id.checked_sub(1).and_then(|index| self.mappings.get_mut(index as usize))
        {
            let has_file = |line: &Line| {
                let function = line.function_id.checked_sub(1);
                let function = function.and_then(|index| self.functions.get(index as usize));
                function.is_some_and(|function| function.filename != 0)
            };
            mapping.has_filenames |= line.iter().any(has_file);
            mapping.has_line_numbers |= line.iter().any(|line| line.line != 0);
            mapping.has_inline_frames |= line.len() > 1;
        }
        let location = Location { id: 0, mapping_id, address, line };
        let next = self.locations.len() as u64 + 1;
        let id = *self.known_locations.entry(location.clone()).or_insert(next);
        if id == next {
            self.locations.push(Location { id, ..location });
        }
        id
    }
}
