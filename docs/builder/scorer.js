// What a search finds in a title comes first.
var Scorer = {
  objNameMatch: 11, objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 }, objPrioDefault: 0,
  title: 25, partialTitle: 12,
  term: 5, partialTerm: 2,
};
